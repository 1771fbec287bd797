// Real guests: the built binary boots a kernel, on this host's KVM or in the nested lane.
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

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
using ::testing::Not;
using ::testing::StartsWith;

class EndToEndTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const absl::StatusOr<Lane> lane = ChooseLane(Accel::kAuto);
    if (!lane.ok()) GTEST_SKIP() << lane.status().message();
    const absl::StatusOr<ResolvedKernel> kernel =
        KernelStore(CacheDirectory()).Resolve("", ProcessEnvironment());
    if (!kernel.ok()) GTEST_SKIP() << kernel.status().message();
    std::string name = ::testing::TempDir() + "/e2e_test.XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    directory_ = name;
    // Far beyond what any of these takes: a hang of the program itself fails the test.
    options_.time_limit = std::chrono::seconds(400);
  }
  void TearDown() override {
    if (!directory_.empty()) fs::remove_all(directory_);
  }

  StasisRun Run(const std::vector<std::string>& arguments) {
    StasisRun run = RunStasis(arguments, options_);
    EXPECT_EQ(run.processes_left, 0);
    return run;
  }
  StasisRun Exec(const std::string& command) { return Run({"shell", "--exec", command}); }

  std::string directory_;
  RunStasisOptions options_;
};

TEST_F(EndToEndTest, SteadyPassesWithEvidence) {
  const std::string json = directory_ + "/result.json";

  StasisRun run = Run({"run", "steady", "--json", json});

  EXPECT_EQ(run.exit_code, 0) << run.output << run.error;
  EXPECT_THAT(run.output, StartsWith("PASS"));
  std::ifstream file(json);
  const nlohmann::json result = nlohmann::json::parse(file, nullptr, false);
  ASSERT_TRUE(result.is_object());
  ASSERT_TRUE(result.contains("guest")) << result.dump(2);
  EXPECT_EQ(result["verdict"], "pass");
  EXPECT_TRUE(result["guest"]["topology_differences"].empty());
  EXPECT_FALSE(result["workers"].empty());
}

TEST_F(EndToEndTest, MovedKernelSeesTheDistancesThatTheScenarioAsksFor) {
  const std::string scenario = directory_ + "/far.toml";
  std::ofstream(scenario) << R"(summary = "far"
duration = "1s"
[machine]
topology = "2n2l1c1t"
distances = [[10, 31], [31, 10]]
kaslr = true
[[cgroup]]
name = "a"
work = [{ kind = "cpu_spin", workers = 2 }]
[expect]
max_gap = "900ms"
)";
  const std::string json = directory_ + "/result.json";

  const StasisRun run = Run({"run", scenario, "--json", json});
  const StasisRun other = Run({"run", scenario, "--topology", "2c"});

  EXPECT_EQ(run.exit_code, 0) << run.output << run.error;
  std::ifstream file(json);
  const nlohmann::json result = nlohmann::json::parse(file, nullptr, false);
  const nlohmann::json nodes = result["guest"]["topology"]["nodes"];
  ASSERT_EQ(nodes.size(), 2u) << result["guest"];
  EXPECT_EQ(nodes[0]["distance"], (std::vector<int>{10, 31}));
  EXPECT_EQ(nodes[1]["distance"], (std::vector<int>{31, 10}));
  EXPECT_TRUE(result["guest"]["topology_differences"].empty());
  EXPECT_EQ(other.exit_code, 2) << other.output;
  EXPECT_THAT(other.output + other.error, HasSubstr("NUMA distances: 2 rows for 1 nodes"));
}

TEST_F(EndToEndTest, StarvedFailsAndNamesTheScheduler) {
  StasisRun run = Run({"run", "starved"});

  EXPECT_EQ(run.exit_code, 1) << run.output << run.error;
  EXPECT_THAT(run.output, StartsWith("FAIL: scheduler: "));
}

TEST_F(EndToEndTest, CommandsOutputAndExitCodeAreOurs) {
  options_.input = "from the host\n";

  StasisRun run = Exec("cat; echo to stderr >&2; exit 7");

  EXPECT_EQ(run.exit_code, 7) << run.error;
  EXPECT_EQ(run.output, "from the host\n");
  EXPECT_THAT(run.error, HasSubstr("to stderr"));
}

TEST_F(EndToEndTest, CrashOfTheGuestIsExitCodeOne) {
  StasisRun run = Exec("echo c > /proc/sysrq-trigger; sleep 100");

  EXPECT_EQ(run.exit_code, 1) << run.error;
  EXPECT_THAT(run.error, HasSubstr("FAIL: scheduler: "));
  EXPECT_THAT(run.error, HasSubstr("panic"));
}

TEST_F(EndToEndTest, GuestThatRestartsByItselfIsExitCodeOne) {
  StasisRun run = Exec("echo b > /proc/sysrq-trigger; sleep 100");

  EXPECT_EQ(run.exit_code, 1) << run.error;
  EXPECT_THAT(run.error, HasSubstr("ended by itself (reset)"));
}

TEST_F(EndToEndTest, KernelThatPanicsAtOnceFailsTheBoot) {
  StasisRun run = Run({"run", "steady", "--append", "rdinit=/none init=/none"});

  EXPECT_EQ(run.exit_code, 1) << run.error;
  EXPECT_THAT(run.output, StartsWith("FAIL: boot: Kernel panic"));
}

TEST_F(EndToEndTest, AgentThatNeverSaysHelloFailsTheBootWithinItsLimit) {
  // busybox as /init: it finds no inittab and waits for a key on the console.
  options_.environment["STASIS_AGENT"] = "/bin/busybox";
  if (access("/bin/busybox", X_OK) != 0) GTEST_SKIP() << "no busybox on this host";

  StasisRun run = Run({"run", "steady", "--boot-limit", "20"});

  EXPECT_EQ(run.exit_code, 1) << run.error;
  EXPECT_THAT(run.output, HasSubstr("FAIL: boot: the agent did not say hello within"));
}

TEST_F(EndToEndTest, InterruptEndsEverythingAtOnce) {
  options_.signal = SIGINT;
  options_.signal_after = "booting";

  StasisRun run = Exec("sleep 1000");

  EXPECT_EQ(run.exit_code, 130) << run.error;
}

TEST_F(EndToEndTest, PlainBootShowsTheConsole) {
  StasisRun run = Run({"boot", "--append", "rdinit=/none init=/none"});

  EXPECT_EQ(run.exit_code, 1) << run.error;
  EXPECT_THAT(run.output, HasSubstr("Linux version"));
  EXPECT_THAT(run.error, HasSubstr("Kernel panic"));
}

// More input than any buffer on the way holds.
TEST_F(EndToEndTest, EveryByteOfInputComesBackAsOutput) {
  for (int i = 0; i < 60000; ++i) options_.input += std::to_string(i) + "\n";

  StasisRun run = Exec("cat");

  EXPECT_EQ(run.exit_code, 0) << run.error;
  EXPECT_TRUE(run.output == options_.input)
      << run.output.size() << " of " << options_.input.size() << " bytes";
}

}  // namespace
}  // namespace stasis
