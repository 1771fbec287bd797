#include "tools/harness/scenario_verdict.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace stasis {
namespace {

using testing::HasSubstr;

constexpr uint64_t kSecond = 1000000000;

class ScenarioVerdictTest : public testing::Test {
 protected:
  ScenarioVerdictTest() {
    scenario_.name = "test";
    scenario_.duration = absl::Seconds(10);
    CgroupSpec cgroup;
    cgroup.name = "left";
    cgroup.work.emplace_back().workers = 2;
    scenario_.cgroups.push_back(cgroup);
    scenario_.expect.max_gap = absl::Seconds(2);
    scenario_.expect.max_spread = 0.5;
    scenario_.expect.isolation = true;

    Measurements measurements;
    measurements.start_ns = 5 * kSecond;
    measurements.end_ns = 15 * kSecond;
    for (uint32_t index = 0; index < 2; ++index) {
      WorkerMeasurement worker;
      worker.index = index;
      worker.cgroup = "left";
      worker.kind = "cpu_spin";
      worker.started = true;
      worker.iterations = 100000;
      worker.run_ns = 5 * kSecond;
      worker.max_gap_ns = kSecond / 100;
      worker.gap_at_ns = 7 * kSecond;
      worker.cpus_used = *CpuSet::Parse("0-1");
      worker.cpus_allowed = *CpuSet::Parse("0-1");
      worker.last_seen_ns = measurements.end_ns;
      worker.start_ns = measurements.start_ns;
      measurements.workers.push_back(worker);
    }
    measurements.phases = {{.start_ns = measurements.start_ns, .end_ns = measurements.end_ns}};
    for (uint32_t index = 0; index < 2; ++index) {
      measurements.phases[0].workers.push_back(
          {.index = index,
           .iterations = 100000,
           .run_ns = 5 * kSecond,
           .cpus_used = *CpuSet::Parse("0-1"),
           .cpus_allowed = *CpuSet::Parse("0-1")});
    }
    evidence_.measurements = measurements;
    evidence_.host_delay = [this](const CpuSet&, uint64_t, uint64_t) { return host_delay_; };
  }

  // The kernel's watchdog ended the scenario's scheduler.
  void Stall() {
    scenario_.scheduler = SchedulerSpec{.name = "scx_x"};
    evidence_.measurements->scheduler = SchedulerMeasurement{.command = "scx_x", .ops = "x"};
    evidence_.measurements->scheduler->end =
        SchedulerEnd{.kind = SchedulerEndKind::kStall,
                     .attached = true,
                     .at_ns = 12 * kSecond,
                     .reason = "runnable task stall",
                     .message = "w[9] failed to run for 2.048s"};
  }

  PhaseFigures& figures(int index) { return evidence_.measurements->phases[0].workers[index]; }
  WorkerMeasurement& worker(int index) { return evidence_.measurements->workers[index]; }
  Finding Judge() { return JudgeScenario(scenario_, evidence_).finding; }

  Scenario scenario_;
  ScenarioEvidence evidence_;
  absl::Duration host_delay_;
};

TEST_F(ScenarioVerdictTest, EveryExpectationHeldIsAPass) {
  ScenarioVerdict verdict = JudgeScenario(scenario_, evidence_);

  EXPECT_EQ(verdict.finding.verdict, Verdict::kPass) << FirstLine(verdict.finding);
  EXPECT_FALSE(verdict.expectations.empty());
}

TEST_F(ScenarioVerdictTest, KickedOutSchedulerIsNamedAsTheLayer) {
  Stall();

  Finding finding = Judge();

  EXPECT_EQ(finding.verdict, Verdict::kFail);
  EXPECT_EQ(finding.layer, Layer::kScheduler);
  EXPECT_THAT(finding.what, HasSubstr("runnable task stall: w[9] failed to run for 2.048s"));
}

TEST_F(ScenarioVerdictTest, StallThatTheHostExplainsIsInconclusive) {
  Stall();
  host_delay_ = absl::Milliseconds(1000);
  EXPECT_EQ(Judge().verdict, Verdict::kFail);
  host_delay_ = absl::Milliseconds(2000);
  EXPECT_EQ(Judge().verdict, Verdict::kInconclusive);
}

TEST_F(ScenarioVerdictTest, MonitorsWordIsMoreExactThanTheKernelsWatchdog) {
  Stall();
  evidence_.monitor = {Verdict::kFail, Layer::kScheduler, "w (pid 9) has waited 1.6 s for CPU 1"};

  const ScenarioVerdict verdict = JudgeScenario(scenario_, evidence_);

  EXPECT_EQ(FirstLine(verdict.finding), "FAIL: scheduler: w (pid 9) has waited 1.6 s for CPU 1");
  ASSERT_EQ(verdict.warnings.size(), 1u);
  EXPECT_THAT(verdict.warnings[0], HasSubstr("runnable task stall"));
}

TEST_F(ScenarioVerdictTest, MonitorsWordFailsARunWhoseExpectationsHeld) {
  evidence_.monitor = {Verdict::kFail, Layer::kScheduler, "kworker (pid 9) has waited 3 s"};

  EXPECT_EQ(Judge().what, "kworker (pid 9) has waited 3 s");
  EXPECT_EQ(Judge().verdict, Verdict::kFail);
}

TEST_F(ScenarioVerdictTest, MonitorsWordComesBeforeTheSilenceOfTheGuest) {
  evidence_.measurements.reset();
  evidence_.guest_end = Finding{Verdict::kFail, Layer::kScheduler, "the guest hangs"};
  evidence_.monitor = {Verdict::kFail, Layer::kScheduler, "CPU 1 stands still"};

  const ScenarioVerdict verdict = JudgeScenario(scenario_, evidence_);

  EXPECT_EQ(verdict.finding.what, "CPU 1 stands still");
  ASSERT_EQ(verdict.warnings.size(), 1u);
}

TEST_F(ScenarioVerdictTest, FailureThatIsNotAboutWaitingComesBeforeTheMonitorsWord) {
  worker(0).cpus_used = *CpuSet::Parse("0-3");
  figures(0).cpus_used = *CpuSet::Parse("0-3");
  evidence_.monitor = {Verdict::kFail, Layer::kScheduler, "w (pid 9) has waited 3 s"};

  EXPECT_THAT(Judge().what, HasSubstr("isolation"));
}

TEST_F(ScenarioVerdictTest, HostExplainsNoOtherEndOfAScheduler) {
  Stall();
  evidence_.measurements->scheduler->end->kind = SchedulerEndKind::kRuntimeError;
  host_delay_ = absl::Milliseconds(5000);

  EXPECT_EQ(Judge().verdict, Verdict::kFail);
}

TEST_F(ScenarioVerdictTest, SchedulerThatNeverAttachedIsALoadFailure) {
  Stall();
  evidence_.measurements->scheduler->end->attached = false;

  EXPECT_EQ(Judge().layer, Layer::kSchedulerLoad);
}

TEST_F(ScenarioVerdictTest, StatedEndOfTheSchedulerPasses) {
  Stall();
  scenario_.expect.should_fail = "stall";
  EXPECT_EQ(Judge().verdict, Verdict::kPass) << FirstLine(Judge());
  scenario_.expect.should_fail = "runtime_error";
  EXPECT_EQ(Judge().verdict, Verdict::kFail);
}

TEST_F(ScenarioVerdictTest, WithoutAResultThereIsNoPass) {
  evidence_.measurements.reset();

  EXPECT_EQ(Judge().verdict, Verdict::kError);
}

TEST_F(ScenarioVerdictTest, GapThatTheHostDidNotCauseFailsTheScheduler) {
  worker(1).max_gap_ns = 3 * kSecond;

  Finding finding = Judge();

  EXPECT_EQ(finding.verdict, Verdict::kFail);
  EXPECT_EQ(finding.layer, Layer::kScheduler);
}

TEST_F(ScenarioVerdictTest, GapThatTheHostExplainsIsInconclusive) {
  worker(1).max_gap_ns = 3 * kSecond;
  host_delay_ = absl::Milliseconds(1500);

  Finding finding = Judge();

  EXPECT_EQ(finding.verdict, Verdict::kInconclusive);
  EXPECT_EQ(finding.layer, Layer::kHost);
  EXPECT_THAT(finding.what, HasSubstr("1.50 s"));
}

TEST_F(ScenarioVerdictTest, GapThatTheHostExplainsInPartIsStillAFailure) {
  worker(1).max_gap_ns = 9 * kSecond;
  host_delay_ = absl::Milliseconds(1500);

  EXPECT_EQ(Judge().verdict, Verdict::kFail);
}

TEST_F(ScenarioVerdictTest, SpreadOnANoisyHostIsInconclusive) {
  figures(1).run_ns = kSecond;
  host_delay_ = absl::Milliseconds(500);
  EXPECT_EQ(Judge().verdict, Verdict::kFail) << "half a second of ten is no excuse";

  host_delay_ = absl::Milliseconds(1500);

  EXPECT_EQ(Judge().verdict, Verdict::kInconclusive);
}

TEST_F(ScenarioVerdictTest, BrokenIsolationIsNeverTheHosts) {
  figures(0).cpus_used = *CpuSet::Parse("0-3");
  host_delay_ = absl::Seconds(9);

  EXPECT_EQ(Judge().verdict, Verdict::kFail);
}

TEST_F(ScenarioVerdictTest, GuestThatCrashedBehindAGoodResultDoesNotPass) {
  evidence_.guest_end = Finding{Verdict::kFail, Layer::kAgent, "Kernel panic"};

  EXPECT_EQ(Judge().what, "Kernel panic");
}

TEST_F(ScenarioVerdictTest, KernelAlarmDoesNotPass) {
  evidence_.alarms = {{ConsoleAlarmKind::kSoftLockup, "watchdog: BUG: soft lockup"}};

  Finding finding = Judge();

  EXPECT_EQ(finding.verdict, Verdict::kFail);
  EXPECT_THAT(finding.what, HasSubstr("soft lockup"));
}

TEST_F(ScenarioVerdictTest, MissingFeatureIsInconclusive) {
  evidence_.measurements.reset();
  evidence_.early = Finding{Verdict::kInconclusive, Layer::kAgent, "no cgroup v2"};

  EXPECT_EQ(Judge().verdict, Verdict::kInconclusive);
}

TEST_F(ScenarioVerdictTest, InterruptionIsNoFailure) {
  worker(1).max_gap_ns = 9 * kSecond;
  evidence_.guest_end = Finding{Verdict::kError, Layer::kHost, "interrupted", "", true};

  EXPECT_EQ(Judge().exit_code(), 130);
}

TEST_F(ScenarioVerdictTest, FailureThatShouldBeSeenIsAPass) {
  scenario_.expect.should_fail = "max_gap";
  worker(1).max_gap_ns = 9 * kSecond;
  EXPECT_EQ(Judge().verdict, Verdict::kPass);

  worker(1).max_gap_ns = kSecond;

  EXPECT_EQ(Judge().verdict, Verdict::kFail) << "nothing failed";
}

}  // namespace
}  // namespace stasis
