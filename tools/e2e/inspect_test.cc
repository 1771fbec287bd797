// A real guest's dump read back by `stasis dump`.
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "gmock/gmock.h"
#include "nlohmann/json.hpp"
#include "tools/e2e/boot_case.h"
#include "tools/stasis/run_stasis.h"

namespace stasis {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

class InspectTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (const std::string why = WhyNot({.kernel = GetParam()}); !why.empty()) GTEST_SKIP() << why;
    std::string name = testing::TempDir() + "/inspect_test.XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    directory_ = name;
    options_.time_limit = std::chrono::seconds(400);
    options_.environment["STASIS_DUMP"] = "fail";
  }
  void TearDown() override {
    if (!directory_.empty()) fs::remove_all(directory_);
  }
  std::string Dump(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "dump");
    const StasisRun run = RunStasis(arguments, options_);
    EXPECT_EQ(run.exit_code, 0) << run.error;
    return run.output;
  }

  std::string directory_;
  RunStasisOptions options_;
};

TEST_P(InspectTest, PanicIsSummedUpWithTheStackThatLedToIt) {
  const StasisRun run =
      RunStasis({"shell", "--kernel", GetParam(), "--topology", "2c", "--dump-dir", directory_,
                 "--exec", "echo c > /proc/sysrq-trigger; sleep 100"},
                options_);
  ASSERT_EQ(run.exit_code, 1) << run.output << run.error;
  ASSERT_FALSE(fs::is_empty(directory_)) << run.error;
  const std::string dump = fs::directory_iterator(directory_)->path().string();

  const std::string summary = Dump({"summary", dump});
  const std::string backtrace = Dump({"backtrace", dump});
  const std::string banner = Dump({"memory", dump, "linux_banner", "--length", "16"});
  const nlohmann::json facts = nlohmann::json::parse(Dump({"json", dump}), nullptr, false);

  EXPECT_THAT(summary, StartsWith("FAIL: scheduler: Kernel panic - not syncing: sysrq triggered"));
  EXPECT_THAT(summary, HasSubstr("trigger   guest-panic while running, told by pvpanic on CPU "));
  EXPECT_THAT(summary, HasSubstr("the kernel complained:\n  | Kernel panic"));
  // Out of the panic, through the write to /proc, to the system call.
  for (const char* frame :
       {"panic+0x", "sysrq_handle_crash", "ksys_write+0x", "entry_SYSCALL_64"}) {
    EXPECT_THAT(backtrace, HasSubstr(frame));
  }
  // The kernel's tables, whatever form they have, lead from the call of the system on.
  EXPECT_THAT(backtrace, Not(HasSubstr("no ORC tables")));
  EXPECT_THAT(backtrace, HasSubstr("\n        ksys_write+0x"));
  EXPECT_THAT(backtrace, HasSubstr("\n        entry_SYSCALL_64"));
  EXPECT_THAT(banner, HasSubstr("Linux version "));
  EXPECT_EQ(facts["format"], "stasis.dump/1");
}

INSTANTIATE_TEST_SUITE_P(Kernels, InspectTest, testing::Values("6.1", "6.12", "7"),
                         [](const auto& info) {
                           return "Linux" + std::string(info.param == "6.1"    ? "6_1"
                                                        : info.param == "6.12" ? "6_12"
                                                                               : "7");
                         });

}  // namespace
}  // namespace stasis
