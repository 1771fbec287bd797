// What triggers a dump, provoked in real guests: each ends with its exit code, its first line and a
// whole dump that names it.
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>

#include <filesystem>

#include "gmock/gmock.h"
#include "tools/e2e/boot_case.h"
#include "tools/inspect/dump_file.h"
#include "tools/stasis/run_stasis.h"

namespace stasis {
namespace {

namespace fs = std::filesystem;
using ::testing::AnyOf;
using ::testing::HasSubstr;

class TriggerTest : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = WhyNot({}); !why.empty()) GTEST_SKIP() << why;
    std::string name = testing::TempDir() + "/trigger_test.XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    directory_ = name;
    options_.time_limit = std::chrono::seconds(600);
    options_.environment["STASIS_DUMP"] = "fail";
  }
  void TearDown() override {
    if (!directory_.empty()) fs::remove_all(directory_);
  }

  StasisRun Shell(const std::string& script, std::vector<std::string> more = {}) {
    std::vector<std::string> arguments = {"shell", "--topology", "2c", "--dump-dir", directory_};
    arguments.insert(arguments.end(), more.begin(), more.end());
    arguments.insert(arguments.end(), {"--exec", script});
    return RunStasis(arguments, options_);
  }

  // The facts of the one dump that there must be.
  nlohmann::json Facts() {
    std::vector<std::string> dumps;
    for (const auto& entry : fs::directory_iterator(directory_)) dumps.push_back(entry.path());
    EXPECT_EQ(dumps.size(), 1u);
    if (dumps.empty()) return nullptr;
    const auto dump = DumpFile::Open(dumps[0]);
    EXPECT_TRUE(dump.ok()) << dump.status();
    return dump.ok() ? (*dump)->facts() : nullptr;
  }

  std::string directory_;
  RunStasisOptions options_;
};

// What `stasis freeze PID` sends.
TEST_F(TriggerTest, RequestFromOutsideDumpsAndTheGuestGoesOn) {
  options_.signal = SIGUSR1;
  options_.signal_after = "ready\n";

  const StasisRun run = Shell("echo ready >&2; sleep 5; echo went on");

  EXPECT_EQ(run.exit_code, 0) << run.error;
  EXPECT_EQ(run.output, "went on\n");
  const nlohmann::json facts = Facts();
  EXPECT_EQ(facts["trigger"]["kind"], "user-request");
  EXPECT_EQ(facts["complete"], true) << facts["incomplete_because"];
  EXPECT_FALSE(facts.contains("verdict"));
}

TEST_F(TriggerTest, TimeLimitIsDumped) {
  const StasisRun run = Shell("sleep 1000", {"--time-limit", "20"});

  EXPECT_EQ(run.exit_code, 1) << run.error;
  const nlohmann::json facts = Facts();
  EXPECT_EQ(facts["trigger"]["kind"], "time-limit");
  EXPECT_EQ(facts["complete"], true) << facts["incomplete_because"];
  EXPECT_EQ(facts["verdict"]["verdict"], "fail");
}

// Real-time hogs on every CPU, and no limit to them: the agent never runs again.
TEST_F(TriggerTest, StarvedAgentIsDumpedWithItsHogs) {
  const StasisRun run = Shell(
      "echo -1 > /proc/sys/kernel/sched_rt_runtime_us; "
      "for i in 1 2 3 4; do chrt -f 99 sh -c 'while :; do :; done' & done; sleep 1000",
      {"--include", "/usr/bin/chrt", "--time-limit", "300"});

  EXPECT_EQ(run.exit_code, 1) << run.error;
  const nlohmann::json facts = Facts();
  // The kernel itself may complain first.
  EXPECT_THAT(facts["trigger"]["kind"].get<std::string>(),
              AnyOf("heartbeat-lost", "kernel-alarm", "guest-stall"))
      << facts["trigger"] << facts["console"]["tail"];
  EXPECT_EQ(facts["complete"], true) << facts["incomplete_because"];
  EXPECT_EQ(facts["vcpus"].size(), 2u);
  EXPECT_THAT(run.error, HasSubstr("FAIL: scheduler: "));
}

}  // namespace
}  // namespace stasis
