#include "guest/scenario/scheduler_judge.h"

#include "gtest/gtest.h"

namespace stasis {
namespace {

constexpr uint64_t kSecond = 1000000000;

class SchedulerJudgeTest : public testing::Test {
 protected:
  SchedulerJudgeTest() {
    scenario_.duration = absl::Seconds(5);
    scenario_.cgroups = {{.name = "left", .work = {{.workers = 1}}}};
    scenario_.expect.max_gap = absl::Seconds(1);
    scenario_.scheduler = SchedulerSpec{.name = "scx_x"};
    run_ = {.start_ns = 10 * kSecond, .end_ns = 15 * kSecond};
    WorkerMeasurement worker;
    worker.cgroup = "left";
    worker.kind = "cpu_spin";
    worker.started = true;
    worker.iterations = 10;
    worker.last_seen_ns = run_.end_ns;
    run_.workers = {worker};
    run_.scheduler = SchedulerMeasurement{.command = "scx_x",
                                          .ops = "x",
                                          .started_ns = 7 * kSecond,
                                          .attached_ns = 9 * kSecond,
                                          .samples = 51,
                                          .attached_samples = 51,
                                          .attached_last = true};
  }

  void Stall() {
    run_.scheduler->end = SchedulerEnd{.kind = SchedulerEndKind::kStall,
                                       .attached = true,
                                       .at_ns = 13 * kSecond,
                                       .reason = "runnable task stall",
                                       .message = "w[9] failed to run for 2.048s"};
  }
  void NeverAttached() {
    run_.scheduler->attached_ns = 0;
    run_.scheduler->end =
        SchedulerEnd{.at_ns = 8 * kSecond, .exit_code = 1, .last_line = "no such map"};
  }
  Judgement Conclusion() { return Conclude(scenario_, Judge(scenario_, run_)); }

  Scenario scenario_;
  Measurements run_;
};

TEST_F(SchedulerJudgeTest, AttachedInEverySampleIsEvidence) {
  const Outcome outcome = JudgeScheduler(scenario_, run_);

  EXPECT_TRUE(outcome.ok);
  EXPECT_EQ(outcome.measured, "scx_x (ops x) in 51 of 51 samples");
  EXPECT_TRUE(Conclusion().pass);
  EXPECT_EQ(Judge(scenario_, run_).size(), 3u) << "the other expectations are judged as well";
}

TEST_F(SchedulerJudgeTest, OneSampleWithoutItIsNoPass) {
  run_.scheduler->attached_samples = 50;

  EXPECT_FALSE(Conclusion().pass);
}

TEST_F(SchedulerJudgeTest, NoSampleIsNoPass) {
  run_.scheduler->samples = run_.scheduler->attached_samples = 0;

  EXPECT_FALSE(Conclusion().pass);
}

TEST_F(SchedulerJudgeTest, NoReportIsNoPass) {
  run_.scheduler.reset();

  EXPECT_FALSE(Conclusion().pass);
  EXPECT_EQ(Conclusion().reason, "scx_x was not reported");
}

TEST_F(SchedulerJudgeTest, SamplesOfASwitchDoNotCount) {
  run_.scheduler->switches = 1;
  run_.scheduler->switching_samples = 7;
  run_.scheduler->attached_samples = 44;

  EXPECT_TRUE(Conclusion().pass);
}

TEST_F(SchedulerJudgeTest, RestartsByHotplugDoNotCountWhenItIsBackInTheEnd) {
  run_.scheduler->restarts = 2;
  run_.scheduler->switching_samples = 20;
  run_.scheduler->attached_samples = 31;

  EXPECT_TRUE(Conclusion().pass);
  EXPECT_EQ(JudgeScheduler(scenario_, run_).measured,
            "scx_x (ops x) in 31 of 31 samples, restarts by CPU hotplug: 2");
}

TEST_F(SchedulerJudgeTest, RestartThatIsNotDoneInTheEndIsNoPass) {
  run_.scheduler->restarts = 1;
  run_.scheduler->switching_samples = 39;
  run_.scheduler->attached_samples = 12;
  run_.scheduler->attached_last = false;

  EXPECT_FALSE(Conclusion().pass);
  EXPECT_EQ(JudgeScheduler(scenario_, run_).measured,
            "scx_x (ops x) in 12 of 12 samples, restarts by CPU hotplug: 1, not in the last one");
}

TEST_F(SchedulerJudgeTest, KernelsReasonAndMessageAreTheVerdict) {
  Stall();

  const std::vector<Outcome> outcomes = Judge(scenario_, run_);

  ASSERT_EQ(outcomes.size(), 1u) << "the figures of a run that was cut short were judged";
  EXPECT_EQ(outcomes[0].name, "scheduler");
  EXPECT_EQ(Conclusion().reason,
            "the kernel ended x 3.00s into the run: runnable task stall: w[9] failed to run for "
            "2.048s");
}

TEST_F(SchedulerJudgeTest, SignalThatTheAgentSentIsNotTheCause) {
  run_.scheduler->end = SchedulerEnd{.kind = SchedulerEndKind::kUnregistered,
                                     .attached = true,
                                     .at_ns = 13 * kSecond,
                                     .reason = "unregistered from user space",
                                     .running = true,
                                     .exit_signal = 9};

  const std::string measured = JudgeScheduler(scenario_, run_).measured;

  EXPECT_EQ(measured, "x was no longer attached 3.00s into the run, while scx_x ran on: "
                      "unregistered from user space");
}

TEST_F(SchedulerJudgeTest, SchedulerThatNeverAttachedIsALoadFailure) {
  NeverAttached();

  EXPECT_EQ(Judge(scenario_, run_)[0].name, "scheduler_load");
  EXPECT_EQ(
      Conclusion().reason,
      "scx_x exited with code 1 after 1.00s, before the kernel showed it attached; it said: no "
      "such map");
}

TEST_F(SchedulerJudgeTest, LimitOfAttachingNamesTheState) {
  NeverAttached();
  run_.scheduler->ops = "";
  run_.scheduler->end->kind = SchedulerEndKind::kNotAttached;
  run_.scheduler->end->state = "disabled";
  run_.scheduler->end->last_line = "";

  EXPECT_EQ(Conclusion().reason, "scx_x was not attached within 1.00s (sched_ext is disabled)");
}

TEST_F(SchedulerJudgeTest, ProgramThatLeavesIsNamed) {
  Stall();
  run_.scheduler->end = SchedulerEnd{.kind = SchedulerEndKind::kExited,
                                     .attached = true,
                                     .at_ns = 11 * kSecond,
                                     .exit_signal = 11};

  EXPECT_EQ(Conclusion().reason, "scx_x was killed by signal 11 1.00s into the run");
}

TEST_F(SchedulerJudgeTest, StatedReasonThatIsSeenPasses) {
  Stall();
  for (const char* stated : {"stall", "scheduler"}) {
    scenario_.expect.should_fail = stated;
    EXPECT_TRUE(Conclusion().pass) << stated << ": " << Conclusion().reason;
  }
}

TEST_F(SchedulerJudgeTest, AnotherReasonThanTheStatedOneFails) {
  Stall();
  for (const char* stated : {"runtime_error", "exited", "scheduler_load"}) {
    scenario_.expect.should_fail = stated;
    EXPECT_FALSE(Conclusion().pass) << stated;
  }
}

TEST_F(SchedulerJudgeTest, SchedulerThatShouldHaveFailedAndDidNotFails) {
  scenario_.expect.should_fail = "stall";

  EXPECT_FALSE(Conclusion().pass);
  EXPECT_EQ(Conclusion().reason, "scx_x (ops x) in 51 of 51 samples, should have ended by stall");
}

TEST_F(SchedulerJudgeTest, LoadFailureMayBeStated) {
  NeverAttached();
  scenario_.expect.should_fail = "scheduler_load";
  EXPECT_TRUE(Conclusion().pass);
  scenario_.expect.should_fail = "scheduler";
  EXPECT_FALSE(Conclusion().pass);
}

TEST_F(SchedulerJudgeTest, ExpectationThatShouldFailDoesNotExcuseTheScheduler) {
  Stall();
  scenario_.expect.should_fail = "max_gap";

  EXPECT_FALSE(Conclusion().pass);
}

}  // namespace
}  // namespace stasis
