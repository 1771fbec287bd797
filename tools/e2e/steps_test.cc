// Steps of scenarios in a real guest: what the unit tests do on plain files, by a real kernel.
#include <stdlib.h>

#include <filesystem>
#include <fstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tools/harness/initramfs/initramfs.h"
#include "tools/harness/lane.h"
#include "tools/kernels/kernel_store.h"
#include "tools/stasis/run_stasis.h"

namespace stasis {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class StepsEndToEndTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const absl::StatusOr<Lane> lane = ChooseLane(Accel::kAuto);
    if (!lane.ok()) GTEST_SKIP() << lane.status().message();
    const absl::StatusOr<ResolvedKernel> kernel =
        KernelStore(CacheDirectory()).Resolve("", ProcessEnvironment());
    if (!kernel.ok()) GTEST_SKIP() << kernel.status().message();
    std::string name = ::testing::TempDir() + "/steps_test.XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    directory_ = name;
    options_.time_limit = std::chrono::seconds(400);
    options_.environment["STASIS_DUMP"] = "fail";
  }
  void TearDown() override {
    if (!directory_.empty()) fs::remove_all(directory_);
  }

  StasisRun RunScenario(const std::string& text, nlohmann::json* result) {
    const std::string file = directory_ + "/steps.toml", json = directory_ + "/result.json";
    std::ofstream(file) << text;
    StasisRun run = RunStasis({"run", file, "--json", json, "--dump-dir", directory_}, options_);
    EXPECT_EQ(run.processes_left, 0);
    std::ifstream written(json);
    *result = nlohmann::json::parse(written, nullptr, false);
    return run;
  }

  std::string directory_;
  RunStasisOptions options_;
};

// All in one guest, since a boot is what takes the time.
TEST_F(StepsEndToEndTest, SwapHotplugFreezeAndRemovalAreCarriedOutAndJudged) {
  nlohmann::json result;

  StasisRun run = RunScenario(R"(
duration = "7s"
[machine]
topology = "1n1l2c1t"
memory = "512M"
[[cgroup]]
name = "left"
cpus = "half:0"
work = [{ kind = "cpu_spin", workers = 2 }]
[[cgroup]]
name = "right"
cpus = "half:1"
work = [{ kind = "bursty", workers = 2 }]
[[cgroup]]
name = "parent"
[[cgroup]]
name = "parent/child"
at_start = false
memory_max = "64M"
work = [{ kind = "yield", workers = 2 }]
[[step]]
at = "1s"
do = [{ set_cpus = "left", to = "half:1" }, { set_cpus = "right", to = "half:0" }]
[[step]]
at = "2s"
do = [{ unplug_cpus = "1" }, { add_cgroup = "parent/child" }]
[[step]]
at = "3s"
do = [{ plug_cpus = "1" }]
[[step]]
at = "4s"
do = [{ freeze_cgroup = "right" }, { remove_cgroup = "parent/child" }, { snapshot = "frozen" }]
[[step]]
at = "6s"
do = [{ thaw_cgroup = "right" }, { run = ["/bin/sh", "-c", "test ! -e /sys/fs/cgroup/stasis/parent/child"] }]
[expect]
isolation = true
max_gap = "2900ms"
)",
                              &result);

  ASSERT_EQ(run.exit_code, 0) << run.output << run.error;
  EXPECT_THAT(run.output, HasSubstr("set_cpus left to half:1; set_cpus right to half:0"));
  ASSERT_EQ(result["steps"].size(), 5u);
  for (const nlohmann::json& step : result["steps"]) EXPECT_EQ(step["error"], "");
  ASSERT_EQ(result["phases"].size(), 6u);
  const auto cpus = [&result](size_t phase, size_t worker, const char* key) {
    return result["phases"][phase]["workers"][worker][key].get<std::string>();
  };
  // Swapped; everybody on CPU 0 without CPU 1; and back.
  EXPECT_EQ(cpus(0, 0, "cpus_used"), "0");
  EXPECT_EQ(cpus(1, 0, "cpus_used"), "1");
  EXPECT_EQ(cpus(1, 2, "cpus_used"), "0");
  EXPECT_EQ(cpus(2, 0, "cpus_allowed"), "0");
  EXPECT_EQ(cpus(2, 0, "cpus_used"), "0");
  EXPECT_EQ(cpus(3, 0, "cpus_used"), "1");
  // Two seconds frozen, less what a busy host makes the step late: nothing done, and no gap.
  const nlohmann::json& frozen = result["phases"][4]["workers"][2];
  EXPECT_EQ(frozen["frozen"], true);
  EXPECT_EQ(frozen["run_ns"], 0);
  EXPECT_GT(result["workers"][2]["frozen_ns"], 1500000000);
  // Workers 4 and 5 lived from the second step to the fourth.
  ASSERT_EQ(result["workers"].size(), 6u);
  EXPECT_GT(result["workers"][4]["stop_ns"], result["workers"][4]["start_ns"]);
  EXPECT_GT(result["workers"][4]["iterations"], 0);
  EXPECT_EQ(result["dumps"].size(), 1u) << run.output << run.error;
}

TEST_F(StepsEndToEndTest, StepThatFailsEndsTheScenarioWithItsReason) {
  nlohmann::json result;

  StasisRun run = RunScenario(R"(
duration = "600s"
[machine]
topology = "1n1l2c1t"
memory = "512M"
[[cgroup]]
name = "all"
work = [{ kind = "cpu_spin" }]
[[step]]
at = "1s"
do = [{ run = ["/bin/sh", "-c", "echo no such luck; exit 9"] }]
[expect]
isolation = true
)",
                              &result);

  EXPECT_EQ(run.exit_code, 3) << run.output << run.error;
  EXPECT_THAT(run.output, StartsWith("ERROR: workload: step 1 at 1s (run /bin/sh -c echo no such "
                                     "luck; exit 9): exit code 9: no such luck"));
}

}  // namespace
}  // namespace stasis
