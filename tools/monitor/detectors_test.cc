#include "tools/monitor/detectors.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace stasis {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using What = MonitorEvent::What;

constexpr absl::Duration kPeriod = absl::Milliseconds(100);

// Two CPUs that run hogs, looked at ten times a second, on a host that lets them run.
class DetectorsTest : public ::testing::Test {
 protected:
  DetectorsTest() {
    sample_.time = absl::UnixEpoch() + absl::Seconds(100);
    for (int cpu = 0; cpu < 2; ++cpu) {
      CpuSample one{.cpu = cpu, .online = true, .running = 1, .idle = false};
      one.pid = 10 + cpu;
      one.comm = "hog";
      one.fair_weight = 1024;
      sample_.cpus.push_back(one);
    }
  }

  static TaskSample Waiter(int pid, int cpu = 0) {
    TaskSample task{.address = static_cast<uint64_t>(pid) << 12, .pid = pid, .start_ns = 7};
    task.comm = "worker";
    task.cgroup = "/left";
    task.cpu = cpu;
    task.allowed = CpuSet::Of({0, 1});
    task.share = 0.5;
    return task;
  }
  void Idle(int cpu) {
    sample_.cpus[cpu].idle = true;
    sample_.cpus[cpu].running = 0;
    sample_.cpus[cpu].pid = 0;
    sample_.cpus[cpu].fair_weight = 0;
  }

  // The guest goes on for `time`, with `change` before each look.
  std::vector<MonitorEvent> Go(absl::Duration time, std::function<void()> change = [] {}) {
    std::vector<MonitorEvent> events;
    for (absl::Duration gone; gone < time; gone += kPeriod) {
      sample_.time += kPeriod;
      sample_.interval = kPeriod;
      for (CpuSample& cpu : sample_.cpus) {
        cpu.clock_ns += 100'000'000;
        cpu.waiting = 0;
        cpu.host_ran = cpu.idle ? absl::ZeroDuration() : kPeriod;
        cpu.host_delay = absl::ZeroDuration();
      }
      change();
      for (const TaskSample& task : sample_.tasks) {
        if (!task.throttled) ++sample_.cpus[task.cpu].waiting;
      }
      for (MonitorEvent& event : detectors_.Add(sample_)) events.push_back(std::move(event));
    }
    return events;
  }
  static std::vector<What> Kinds(const std::vector<MonitorEvent>& events) {
    std::vector<What> kinds;
    for (const MonitorEvent& event : events) kinds.push_back(event.what);
    return kinds;
  }

  Sample sample_;
  Detectors detectors_{MonitorLimits()};
};

TEST_F(DetectorsTest, TasksThatTakeTurnsAreNoFinding) {
  sample_.tasks = {Waiter(20), Waiter(21)};

  const auto events = Go(absl::Seconds(60), [this] { ++sample_.tasks[0].arrivals, sample_.tasks[1].run_ns += 5; });

  EXPECT_THAT(events, IsEmpty());
}

TEST_F(DetectorsTest, TaskThatNeverRunsIsSuspectedAtHalfTheLimitAndNamedAtTheLimit) {
  sample_.tasks = {Waiter(20)};

  const auto early = Go(absl::Milliseconds(1700));
  const auto late = Go(absl::Milliseconds(1500));

  ASSERT_THAT(Kinds(early), ElementsAre(What::kSuspected));
  ASSERT_THAT(Kinds(late), ElementsAre(What::kFound));
  const MonitorFinding& finding = late[0].finding;
  EXPECT_EQ(finding.kind, FindingKind::kTaskStall);
  EXPECT_EQ(finding.severity, Severity::kFailure);
  EXPECT_EQ(finding.pid, 20);
  EXPECT_EQ(finding.cpu, 0);
  EXPECT_THAT(finding.text,
              HasSubstr("worker (pid 20, cgroup /left) has waited 3.00 s for CPU 0, which runs normal task "
                        "hog (pid 10) all the time; limit 3.00 s"));
}

TEST_F(DetectorsTest, TaskThatRunsAfterAllClearsTheSuspicion) {
  sample_.tasks = {Waiter(20)};
  Go(absl::Seconds(2));

  const auto events = Go(absl::Milliseconds(100), [this] { ++sample_.tasks[0].arrivals; });

  EXPECT_THAT(Kinds(events), ElementsAre(What::kCleared));
  EXPECT_THAT(detectors_.findings(), IsEmpty());
}

TEST_F(DetectorsTest, WaitGoesOnWhereTheKernelMovesTheTaskAndForgetsIt) {
  sample_.tasks = {Waiter(20)};

  const auto events = Go(absl::Seconds(4), [this] {
    sample_.tasks[0].cpu ^= 1;
    sample_.tasks[0].queued_ns = 0;
  });

  EXPECT_THAT(Kinds(events), ElementsAre(What::kSuspected, What::kFound));
}

TEST_F(DetectorsTest, AnotherTaskWithTheSamePidWaitsAnew) {
  sample_.tasks = {Waiter(20)};

  const auto events = Go(absl::Seconds(10), [this, i = 0]() mutable {
    if (++i % 10 == 0) ++sample_.tasks[0].start_ns;
  });

  EXPECT_THAT(events, IsEmpty());
}

TEST_F(DetectorsTest, WalkThatWasLedAstrayForgetsNobody) {
  sample_.tasks = {Waiter(20)};
  const std::vector<TaskSample> tasks = sample_.tasks;

  const auto events = Go(absl::Seconds(4), [&, i = 0]() mutable {
    sample_.tasks_torn = ++i % 3 == 0;
    sample_.tasks = sample_.tasks_torn ? std::vector<TaskSample>() : tasks;
  });

  EXPECT_THAT(Kinds(events), ElementsAre(What::kSuspected, What::kFound));
}

TEST_F(DetectorsTest, ManyTasksThatAreLostTogetherAreOneFindingOfTheLongestWaiting) {
  for (int pid = 20; pid < 24; ++pid) sample_.tasks.push_back(Waiter(pid));
  sample_.tasks[2].queued_ns = 100'000'000;

  const auto events = Go(absl::Seconds(4));

  ASSERT_THAT(Kinds(events), ElementsAre(What::kSuspected, What::kFound, What::kFound));
  EXPECT_EQ(events[1].finding.pid, 22);
  EXPECT_THAT(events[2].finding.text, HasSubstr("2 more tasks have waited as long"));
}

TEST_F(DetectorsTest, RealTimeHogIsNamed) {
  sample_.cpus[0].policy = Policy::kFifo;
  sample_.cpus[0].rt_priority = 50;
  sample_.tasks = {Waiter(20)};

  const auto events = Go(absl::Seconds(4));

  ASSERT_THAT(events, SizeIs(2));
  EXPECT_THAT(events[1].finding.text, HasSubstr("behind fifo 50 task hog (pid 10) all the time"));
}

TEST_F(DetectorsTest, TimeThatTheHostTookIsNotHeldAgainstTheScheduler) {
  sample_.tasks = {Waiter(20)};

  // The vCPU wants to run, and its thread gets a quarter of a CPU.
  const auto events = Go(absl::Seconds(10), [this] { sample_.cpus[0].host_ran = kPeriod / 4; });

  EXPECT_THAT(Kinds(events), ElementsAre(What::kSuspected));
  const auto later = Go(absl::Seconds(4));
  ASSERT_THAT(Kinds(later), ElementsAre(What::kFound));
  EXPECT_THAT(later[0].finding.text, HasSubstr("of it the host kept the virtual CPU from running"));
}

TEST_F(DetectorsTest, HostThatStoodStillIsNotHeldAgainstTheScheduler) {
  sample_.tasks = {Waiter(20)};

  const auto events = Go(absl::Seconds(30), [this] { sample_.stopped = kPeriod * 0.97; });

  EXPECT_THAT(events, IsEmpty());
}

TEST_F(DetectorsTest, IdleVirtualCpuIsNoExcuse) {
  Idle(0);
  sample_.tasks = {Waiter(20)};

  const auto events = Go(absl::Seconds(4));

  EXPECT_THAT(events.back().finding.text, HasSubstr("has waited 3.00 s for CPU 0, which idles"));
}

TEST_F(DetectorsTest, ThrottledTaskWaitsFromItsReleaseOn) {
  sample_.tasks = {Waiter(20)};
  sample_.tasks[0].throttled = true;
  EXPECT_THAT(Go(absl::Seconds(30)), IsEmpty());

  sample_.tasks[0].throttled = false;

  EXPECT_THAT(Go(absl::Seconds(1)), IsEmpty());
  EXPECT_THAT(Kinds(Go(absl::Seconds(3))), ElementsAre(What::kSuspected, What::kFound));
}

TEST_F(DetectorsTest, IdlePolicyMayWaitForGood) {
  sample_.tasks = {Waiter(20)};
  sample_.tasks[0].policy = Policy::kIdle;
  Go(absl::Seconds(1));
  sample_.tasks[0].policy = Policy::kNormal;  // it changes it all the time

  EXPECT_THAT(Go(absl::Seconds(30)), IsEmpty());
  ASSERT_THAT(detectors_.Waits(), SizeIs(1));
  EXPECT_EQ(detectors_.Waits()[0].legal, "SCHED_IDLE");
}

TEST_F(DetectorsTest, SmallWeightMayWaitLonger) {
  sample_.tasks = {Waiter(20)};
  sample_.tasks[0].share = 0.003;  // of nice 19 beside nice 0 and more

  EXPECT_THAT(Go(absl::Milliseconds(4900)), IsEmpty());
  EXPECT_THAT(Kinds(Go(absl::Seconds(6))), ElementsAre(What::kSuspected, What::kFound));
}

TEST_F(DetectorsTest, SchedExtTaskIsFoundBeforeTheKernelsWatchdogComes) {
  sample_.scx = {.built_in = true, .enabled = true, .state = "enabled", .ops = "broken"};
  sample_.scx.watchdog = absl::Seconds(2);
  sample_.tasks = {Waiter(20)};
  sample_.tasks[0].queue = "none";

  const auto events = Go(absl::Milliseconds(1700));

  ASSERT_THAT(Kinds(events), ElementsAre(What::kSuspected, What::kFound));
  EXPECT_THAT(events[1].finding.text,
              HasSubstr("it is in no queue of sched_ext: scheduler 'broken' has it, or has lost it; limit 1.60 s, "
                        "0.8 of its watchdog's"));
}

TEST_F(DetectorsTest, SchedExtTaskThatOnlyTheHostKeptWaitingIsNoFailure) {
  sample_.scx = {.built_in = true, .enabled = true, .state = "enabled", .ops = "good"};
  sample_.scx.watchdog = absl::Seconds(2);
  sample_.tasks = {Waiter(20)};
  sample_.tasks[0].queue = "local";

  const auto events = Go(absl::Seconds(2), [this] { sample_.cpus[0].host_ran = absl::ZeroDuration(); });

  ASSERT_THAT(Kinds(events), ElementsAre(What::kSuspected, What::kFound));
  EXPECT_EQ(events[1].finding.severity, Severity::kNote);
}

TEST_F(DetectorsTest, CpuWhoseClockStandsStillWhileItsThreadRunsIsNamedInPlaceOfWhoWaits) {
  sample_.cpus[1].running = 2;
  sample_.tasks = {Waiter(20, 1)};
  Go(absl::Seconds(1), [this] { ++sample_.tasks[0].arrivals; });
  const uint64_t stopped_at = sample_.cpus[1].clock_ns;

  const auto events = Go(absl::Seconds(4), [&] { sample_.cpus[1].clock_ns = stopped_at; });

  ASSERT_THAT(events, Not(IsEmpty()));
  EXPECT_EQ(events[0].what, What::kSuspected);
  ASSERT_THAT(detectors_.findings(), SizeIs(1));
  EXPECT_EQ(detectors_.findings()[0].kind, FindingKind::kCpuStall);
  EXPECT_EQ(detectors_.findings()[0].cpu, 1);
  EXPECT_THAT(detectors_.findings()[0].text,
              HasSubstr("CPU 1 stands still: its runqueue clock has not moved for 3.00 s while its virtual CPU ran; "
                        "it runs hog (pid 11), 2 tasks are runnable there"));
}

TEST_F(DetectorsTest, CpuThatTheHostDoesNotRunDoesNotStandStill) {
  const auto events = Go(absl::Seconds(30), [this] {
    sample_.cpus[1].clock_ns = 5;
    sample_.cpus[1].host_ran = absl::ZeroDuration();
  });

  EXPECT_THAT(events, IsEmpty());
}

TEST_F(DetectorsTest, IdleCpuAndOneWithoutATickMayStandStill) {
  Idle(0);
  sample_.cpus[1].tick_stopped = true;

  const auto events = Go(absl::Seconds(30), [this] {
    for (CpuSample& cpu : sample_.cpus) cpu.clock_ns = 5;
  });

  EXPECT_THAT(events, IsEmpty());
}

TEST_F(DetectorsTest, CpuThatIdlesBesideAWaiterItMayRunIsAWarning) {
  Idle(1);
  sample_.tasks = {Waiter(20)};

  const auto events = Go(absl::Milliseconds(1200));

  ASSERT_THAT(events, SizeIs(1));
  EXPECT_EQ(events[0].finding.kind, FindingKind::kIdleCpu);
  EXPECT_EQ(events[0].finding.severity, Severity::kWarning);
  EXPECT_THAT(events[0].finding.text,
              HasSubstr("CPU 1 idles while worker (pid 20, cgroup /left) waits for CPU 0, and may use 0-1"));
}

TEST_F(DetectorsTest, CpuMayIdleBesideWaitersOfAnother) {
  Idle(1);
  sample_.tasks = {Waiter(20)};
  sample_.tasks[0].allowed = CpuSet::Of({0});

  EXPECT_THAT(Go(absl::Seconds(30), [this] { ++sample_.tasks[0].arrivals; }), IsEmpty());
}

TEST_F(DetectorsTest, CpuThatIsBeingUnpluggedMayIdle) {
  Idle(1);
  sample_.cpus[1].active = false;
  sample_.tasks = {Waiter(20), Waiter(21), Waiter(22)};

  EXPECT_THAT(Go(absl::Milliseconds(1400)), IsEmpty());
}

TEST_F(DetectorsTest, CpuThatIdlesOnlyNowAndThenIsNoFinding) {
  sample_.tasks = {Waiter(20), Waiter(21)};

  const auto events = Go(absl::Seconds(30), [this, i = 0]() mutable {
    sample_.cpus[1].idle = ++i % 2 == 0;
    sample_.cpus[1].running = i % 2;
    ++sample_.tasks[i % 2].arrivals;
  });

  EXPECT_THAT(events, IsEmpty());
}

TEST_F(DetectorsTest, ImbalanceThatLastsIsAWarningIfATaskCouldMove) {
  for (int pid = 20; pid < 23; ++pid) {
    sample_.tasks.push_back(Waiter(pid));
    sample_.tasks.back().share = 0.25;
  }
  sample_.cpus[0].fair_weight = 4096;

  const auto events = Go(absl::Seconds(4), [this] {
    for (TaskSample& task : sample_.tasks) ++task.arrivals;
  });

  ASSERT_THAT(events, SizeIs(1));
  EXPECT_EQ(events[0].finding.kind, FindingKind::kImbalance);
  EXPECT_EQ(events[0].finding.severity, Severity::kWarning);
  EXPECT_THAT(events[0].finding.text, HasSubstr("CPU 0 has 3 waiting tasks and CPU 1 1 runnable ones"));
}

TEST_F(DetectorsTest, TasksOfLittleWeightBesideAHeavyOneAreInBalance) {
  for (int pid = 20; pid < 24; ++pid) {
    sample_.tasks.push_back(Waiter(pid));
    sample_.tasks.back().share = 0.2;
  }
  sample_.cpus[0].fair_weight = 1024;
  sample_.cpus[1].fair_weight = 1024;

  const auto events = Go(absl::Seconds(20), [this] {
    for (TaskSample& task : sample_.tasks) ++task.arrivals;
  });

  EXPECT_THAT(events, IsEmpty());
}

TEST_F(DetectorsTest, TasksThatAreConfinedBesideAnIdleCpuAreANote) {
  Idle(1);
  for (int pid = 20; pid < 23; ++pid) {
    sample_.tasks.push_back(Waiter(pid));
    sample_.tasks.back().allowed = CpuSet::Of({0});
  }

  const auto events = Go(absl::Seconds(4), [this] {
    for (TaskSample& task : sample_.tasks) ++task.arrivals;
  });

  ASSERT_THAT(events, SizeIs(1));
  EXPECT_EQ(events[0].finding.severity, Severity::kNote);
  EXPECT_THAT(events[0].finding.text, HasSubstr("waits and may use CPUs 0 only"));
}

TEST_F(DetectorsTest, ConfinedTasksAreToldAlsoIfTheOtherCpuIsUsedNowAndThen) {
  Idle(1);
  for (int pid = 20; pid < 23; ++pid) {
    sample_.tasks.push_back(Waiter(pid));
    sample_.tasks.back().allowed = CpuSet::Of({0});
  }

  const auto events = Go(absl::Seconds(6), [this, i = 0]() mutable {
    sample_.cpus[1].idle = ++i % 4 != 0;
    for (TaskSample& task : sample_.tasks) ++task.arrivals;
  });

  ASSERT_THAT(events, SizeIs(1));
  EXPECT_EQ(events[0].finding.severity, Severity::kNote);
}

TEST_F(DetectorsTest, EndOfASchedExtSchedulerByAnErrorIsAWarningWithTheKernelsWords) {
  sample_.scx = {.built_in = true, .enabled = true, .state = "enabled", .ops = "broken"};
  Go(absl::Seconds(1));

  const auto events = Go(absl::Seconds(1), [this] {
    sample_.scx.enabled = false;
    sample_.scx.state = "disabling";
    sample_.scx.exit_kind = 1026;
    sample_.scx.exit_is_error = true;
    sample_.scx.exit_reason = "runnable task stall";
    sample_.scx.exit_message = "worker[20] failed to run for 2.0s";
  });

  ASSERT_THAT(events, SizeIs(1));
  EXPECT_THAT(events[0].finding.text,
              HasSubstr("'broken' was ended: runnable task stall: worker[20] failed to run for 2.0s"));
}

TEST_F(DetectorsTest, SchedExtSchedulerThatIsTakenAwayIsNoFinding) {
  sample_.scx = {.built_in = true, .enabled = true, .state = "enabled", .ops = "good"};
  Go(absl::Seconds(1));

  const auto events = Go(absl::Seconds(1), [this] {
    sample_.scx.enabled = false;
    sample_.scx.state = "disabled";
    sample_.scx.exit_kind = 64;
  });

  EXPECT_THAT(events, IsEmpty());
}

TEST_F(DetectorsTest, BypassThatLastsIsAWarning) {
  sample_.scx = {.built_in = true, .enabled = true, .state = "enabled", .ops = "slow"};
  sample_.cpus[0].bypassing = true;

  EXPECT_THAT(Go(absl::Seconds(1)), IsEmpty());
  const auto events = Go(absl::Seconds(3));

  ASSERT_THAT(events, SizeIs(1));
  EXPECT_THAT(events[0].finding.text, HasSubstr("'slow' is bypassed"));
}

TEST_F(DetectorsTest, CallbackThatHoldsARunqueuesLockIsAWarningWithItsScheduler) {
  sample_.scx = {.built_in = true, .enabled = true, .state = "enabled", .ops = "burner"};
  sample_.cpus[0].locked = true;
  sample_.cpus[1].locked = false;

  const auto events = Go(absl::Seconds(3));

  ASSERT_THAT(events, SizeIs(1));
  EXPECT_EQ(events[0].finding.kind, FindingKind::kLockHeld);
  EXPECT_EQ(events[0].finding.severity, Severity::kWarning);
  EXPECT_EQ(events[0].finding.text,
            "the lock of CPU 0's runqueue was held in 20 of 20 looks within 2.00 s (it runs hog, pid "
            "10): a callback of sched_ext scheduler 'burner' takes long");
}

TEST_F(DetectorsTest, WarningsLeaveRoomForAFailure) {
  sample_.scx = {.built_in = true, .state = "disabled"};
  Go(absl::Seconds(20), [this, i = 0]() mutable { sample_.scx.exit_is_error = ++i % 2 == 0; });
  ASSERT_LT(detectors_.findings().size(), Detectors::kMostFindings);

  sample_.tasks = {Waiter(20)};
  Go(absl::Seconds(4), [this] { sample_.scx.exit_is_error = false; });

  EXPECT_EQ(detectors_.findings().back().severity, Severity::kFailure);
}

TEST_F(DetectorsTest, ResetBeginsAnew) {
  sample_.tasks = {Waiter(20)};
  Go(absl::Seconds(4));

  detectors_.Reset();

  EXPECT_THAT(Go(absl::Seconds(1)), IsEmpty());
  EXPECT_THAT(detectors_.findings(), IsEmpty());
}

}  // namespace
}  // namespace stasis
