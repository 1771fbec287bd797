// Each stock kernel ten times in a row with 1, 2 and 4 vCPUs: bazel test --config=soak
// //tools/e2e/...
//
// A hang of the emulated host, which its own heartbeat tells, is no failure of the guest's: it is
// counted and reported, and that boot is tried once more.
#include <gtest/gtest.h>

#include <iostream>
#include <string>
#include <tuple>

#include "tools/e2e/boot_case.h"

namespace stasis {
namespace {

constexpr int kBoots = 10;

// What the lane says of a fault of its own.
bool IsLaneFault(const StasisRun& run) {
  return run.exit_code == 3 &&
         run.error.find("a fault of the lane, not of what ran in it") != std::string::npos;
}

class SoakTest : public testing::TestWithParam<std::tuple<std::string, std::string>> {};

TEST_P(SoakTest, TenBootsInARowPass) {
  const auto& [kernel, topology] = GetParam();
  const BootCase boot{"soak", kernel, topology};
  if (const std::string why = WhyNot(boot); !why.empty()) GTEST_SKIP() << why;
  int hangs = 0;

  for (int i = 0; i < kBoots; ++i) {
    BootResult result = Boot(boot);
    if (IsLaneFault(result.run)) {
      ++hangs;
      std::cout << "lane fault: " << result.run.error << std::endl;
      result = Boot(boot);
    }
    ASSERT_EQ(result.run.exit_code, 0) << "boot " << i << " of " << kBoots << "\n"
                                       << result.run.output << result.run.error;
  }

  RecordProperty("lane_hangs", hangs);
  std::cout << kernel << " " << topology << ": " << kBoots << " boots, " << hangs
            << " hangs of the emulated host" << std::endl;
}

INSTANTIATE_TEST_SUITE_P(StockKernels, SoakTest,
                         testing::Combine(testing::Values("6.1", "6.12", "7"),
                                          testing::Values("1c", "2c", "4c")));

}  // namespace
}  // namespace stasis
