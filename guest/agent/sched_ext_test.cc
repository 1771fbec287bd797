#include "guest/agent/sched_ext.h"

#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "gtest/gtest.h"

namespace stasis::agent {
namespace {

namespace fs = std::filesystem;

class SchedExtTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "/schedXXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
  }
  void TearDown() override { fs::remove_all(root_); }

  void Put(const std::string& path, const std::string& text) {
    fs::create_directories(fs::path(root_ + path).parent_path());
    std::ofstream(root_ + path, std::ios::app) << text;
  }

  std::string root_;
};

TEST_F(SchedExtTest, KernelWithoutItHasNoState) {
  EXPECT_EQ(ReadSchedExt(root_).state, "");
  EXPECT_FALSE(ReadSchedExt(root_).attached());
}

TEST_F(SchedExtTest, DisabledHasNoOps) {
  Put("/sys/kernel/sched_ext/state", "disabled\n");

  const SchedExtState state = ReadSchedExt(root_);

  EXPECT_EQ(state.state, "disabled");
  EXPECT_FALSE(state.attached());
}

TEST_F(SchedExtTest, EnabledWithOpsIsAttached) {
  Put("/sys/kernel/sched_ext/state", "enabled\n");
  Put("/sys/kernel/sched_ext/enable_seq", "3\n");
  EXPECT_FALSE(ReadSchedExt(root_).attached()) << "no ops yet";
  Put("/sys/kernel/sched_ext/root/ops", "simple\n");

  const SchedExtState state = ReadSchedExt(root_);

  EXPECT_TRUE(state.attached());
  EXPECT_EQ(state.ops, "simple");
  EXPECT_EQ(state.enable_seq, "3");
}

TEST_F(SchedExtTest, EventsAreCounted) {
  EXPECT_TRUE(ReadSchedExtEvents(root_).empty());
  Put("/sys/kernel/sched_ext/root/events", "SCX_EV_SELECT_CPU_FALLBACK 7\nnonsense\nX y\n");

  EXPECT_EQ(ReadSchedExtEvents(root_),
            (std::map<std::string, uint64_t>{{"SCX_EV_SELECT_CPU_FALLBACK", 7}}));
}

TEST_F(SchedExtTest, ReasonAndMessageComeFromTheKernelsLog) {
  Put("/kmsg", "6,1,5,-;sched_ext: BPF scheduler \"old\" disabled (runtime error)\n");
  KernelLog log(root_ + "/kmsg");
  log.SkipToEnd();
  EXPECT_FALSE(log.ReadDisabled().found) << "of the time before";

  Put("/kmsg",
      "6,2,6,-;sched_ext: BPF scheduler \"x\" enabled\n"
      "3,3,7,-;sched_ext: BPF scheduler \"x\" disabled (runnable task stall)\n"
      " SUBSYSTEM=none\n"
      "3,4,8,-;sched_ext: x: w[9] failed to run for 2.048s\n"
      "3,5,8,-;   scx_watchdog_workfn+0x1/0x2\n");

  const KernelLog::Disabled& disabled = log.ReadDisabled();
  EXPECT_TRUE(disabled.found);
  EXPECT_EQ(disabled.ops, "x");
  EXPECT_EQ(disabled.reason, "runnable task stall");
  EXPECT_EQ(disabled.message, "w[9] failed to run for 2.048s");
}

TEST_F(SchedExtTest, RecordThatIsNotWholeYetIsWaitedFor) {
  Put("/kmsg", "");
  KernelLog log(root_ + "/kmsg");
  log.SkipToEnd();
  Put("/kmsg", "3,3,7,-;sched_ext: BPF scheduler \"x\" disabled (scx_bpf");
  EXPECT_FALSE(log.ReadDisabled().found);
  Put("/kmsg", "_error)\n");

  EXPECT_EQ(log.ReadDisabled().reason, "scx_bpf_error");
}

TEST_F(SchedExtTest, KernelWithoutALogSaysNothing) {
  KernelLog log(root_ + "/none");
  log.SkipToEnd();

  EXPECT_FALSE(log.ReadDisabled().found);
}

}  // namespace
}  // namespace stasis::agent
