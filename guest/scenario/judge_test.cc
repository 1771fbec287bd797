#include "guest/scenario/judge.h"

#include "gtest/gtest.h"

namespace stasis {
namespace {

constexpr uint64_t kSecond = 1000000000;

Scenario TwoWorkers() {
  Scenario scenario;
  scenario.duration = absl::Seconds(5);
  scenario.cgroups = {{.name = "left", .work = {{.workers = 2}}}};
  scenario.expect = {.max_gap = absl::Milliseconds(500),
                     .max_spread = 0.2,
                     .isolation = true,
                     .min_iterations = 100};
  return scenario;
}

Measurements GoodRun() {
  Measurements run{.start_ns = 10 * kSecond, .end_ns = 15 * kSecond};
  for (uint32_t i = 0; i < 2; ++i) {
    WorkerMeasurement worker;
    worker.index = i;
    worker.cgroup = "left";
    worker.kind = "cpu_spin";
    worker.started = true;
    worker.iterations = 1000;
    worker.run_ns = 2 * kSecond;
    worker.max_gap_ns = 10000000;
    worker.gap_at_ns = 12 * kSecond;
    worker.cpus_used = CpuSet::Of({0});
    worker.cpus_allowed = CpuSet::Of({0, 1});
    worker.last_seen_ns = 15 * kSecond;
    worker.start_ns = run.start_ns;
    run.workers.push_back(worker);
  }
  run.phases = {{.start_ns = run.start_ns, .end_ns = run.end_ns}};
  for (const WorkerMeasurement& worker : run.workers) {
    run.phases[0].workers.push_back({.index = worker.index,
                                     .iterations = worker.iterations,
                                     .run_ns = worker.run_ns,
                                     .cpus_used = worker.cpus_used,
                                     .cpus_allowed = worker.cpus_allowed});
  }
  return run;
}

// The same with a step in the middle, that changed the CPUs from 0 to 1.
Scenario WithStep() {
  Scenario scenario = TwoWorkers();
  scenario.steps = {
      {.at = absl::Milliseconds(2500),
       .actions = {{.kind = ActionKind::kSetCpus, .target = "left", .cpus = "1"}}}};
  return scenario;
}
Measurements RunWithStep() {
  Measurements run = GoodRun();
  run.steps = {{.what = "set_cpus left to 1"}};
  run.phases.push_back(run.phases[0]);
  run.phases[0].end_ns = 12 * kSecond;
  run.phases[1].start_ns = 13 * kSecond;
  run.phases[1].steps = 1;
  for (PhaseFigures& figures : run.phases[1].workers) {
    figures.cpus_used = figures.cpus_allowed = CpuSet::Of({1});
  }
  return run;
}

Outcome Find(const std::vector<Outcome>& outcomes, const std::string& name) {
  for (const Outcome& outcome : outcomes) {
    if (outcome.name == name) return outcome;
  }
  ADD_FAILURE() << "no outcome " << name;
  return {};
}

// True if only the expectation `name` fails, and the run with it.
void ExpectOnlyFailure(const Scenario& scenario, const Measurements& run, const std::string& name) {
  const std::vector<Outcome> outcomes = Judge(scenario, run);
  for (const Outcome& outcome : outcomes) {
    EXPECT_EQ(outcome.ok, outcome.name != name) << outcome.name << " " << outcome.detail;
  }
  EXPECT_FALSE(Conclude(scenario, outcomes).pass);
}

TEST(JudgeTest, GoodRunPassesEverything) {
  const std::vector<Outcome> outcomes = Judge(TwoWorkers(), GoodRun());

  EXPECT_EQ(outcomes.size(), 5u);
  EXPECT_TRUE(Conclude(TwoWorkers(), outcomes).pass);
}

TEST(JudgeTest, GapBeyondTheLimitFailsAndNamesTheWorker) {
  Measurements run = GoodRun();
  run.workers[1].max_gap_ns = 1980000000;
  run.workers[1].gap_unfinished = true;

  ExpectOnlyFailure(TwoWorkers(), run, "max_gap");
  const Outcome gap = Find(Judge(TwoWorkers(), run), "max_gap");
  EXPECT_EQ(gap.measured, "1.98s");
  EXPECT_EQ(gap.detail,
            "worker 1 (left, cpu_spin, pid 0) still waits on CPU 0 from 2.00s into the "
            "run");
}

TEST(JudgeTest, GapAtTheLimitPasses) {
  Measurements run = GoodRun();
  run.workers[0].max_gap_ns = 500000000;

  EXPECT_TRUE(Find(Judge(TwoWorkers(), run), "max_gap").ok);
}

TEST(JudgeTest, SpreadComparesCpuTimeInsideAWorkGroup) {
  Measurements run = GoodRun();
  run.phases[0].workers[1].run_ns = 1500000000;

  ExpectOnlyFailure(TwoWorkers(), run, "max_spread");
  EXPECT_EQ(Find(Judge(TwoWorkers(), run), "max_spread").measured, "0.25");
}

TEST(JudgeTest, SpreadDoesNotCompareDifferentWorkGroups) {
  Scenario scenario = TwoWorkers();
  scenario.cgroups[0].work = {{.workers = 1}, {.workers = 1, .nice = 10}};
  Measurements run = GoodRun();
  run.workers[1].work = 1;
  run.phases[0].workers[1].run_ns = 100000000;

  EXPECT_TRUE(Find(Judge(scenario, run), "max_spread").ok);
}

TEST(JudgeTest, SpreadOfAGroupThatNeverRanIsTheWorst) {
  Measurements run = GoodRun();
  for (PhaseFigures& figures : run.phases[0].workers) figures.run_ns = 0;

  EXPECT_FALSE(Find(Judge(TwoWorkers(), run), "max_spread").ok);
}

TEST(JudgeTest, WorkerOutsideItsCpusFailsIsolation) {
  Measurements run = GoodRun();
  run.phases[0].workers[0].cpus_used.Add(3);

  ExpectOnlyFailure(TwoWorkers(), run, "isolation");
  EXPECT_EQ(Find(Judge(TwoWorkers(), run), "isolation").detail,
            "worker 0 (left, cpu_spin, pid 0) ran on CPU 3, allowed are 0-1");
}

TEST(JudgeTest, LazyWorkerFailsMinIterations) {
  Measurements run = GoodRun();
  run.workers[1].iterations = 99;

  ExpectOnlyFailure(TwoWorkers(), run, "min_iterations");
}

TEST(JudgeTest, RunThatWasTooShortIsNoEvidence) {
  Measurements run = GoodRun();
  run.end_ns -= 1;

  ExpectOnlyFailure(TwoWorkers(), run, "evidence");
}

TEST(JudgeTest, ClockThatRanBackwardsIsNoEvidence) {
  Measurements run = GoodRun();
  run.end_ns = run.start_ns - 1;

  EXPECT_FALSE(Find(Judge(TwoWorkers(), run), "evidence").ok);
}

TEST(JudgeTest, MissingWorkerIsNoEvidence) {
  Measurements run = GoodRun();
  run.workers.pop_back();

  ExpectOnlyFailure(TwoWorkers(), run, "evidence");
}

TEST(JudgeTest, WorkerThatDiedIsNoEvidence) {
  Measurements run = GoodRun();
  run.workers[0].ended_early = true;
  run.workers[0].exit_signal = 11;

  ExpectOnlyFailure(TwoWorkers(), run, "evidence");
}

TEST(JudgeTest, WorkerThatNeverStartedIsNoEvidence) {
  Measurements run = GoodRun();
  run.workers[0].started = false;

  ExpectOnlyFailure(TwoWorkers(), run, "evidence");
}

TEST(JudgeTest, SilenceAtTheEndIsNoEvidenceWhereNoGapIsJudged) {
  Scenario scenario = TwoWorkers();
  scenario.expect.max_gap.reset();
  Measurements run = GoodRun();
  run.workers[0].last_seen_ns -= 2 * kSecond;

  ExpectOnlyFailure(scenario, run, "evidence");
}

TEST(JudgeTest, NoMeasurementsAtAllFailEverything) {
  for (const Outcome& outcome : Judge(TwoWorkers(), Measurements())) {
    EXPECT_FALSE(outcome.ok) << outcome.name;
  }
}

TEST(JudgeStepsTest, PhasesAreJudgedByTheirOwnCpus) {
  EXPECT_TRUE(Conclude(WithStep(), Judge(WithStep(), RunWithStep())).pass);

  Measurements run = RunWithStep();
  run.phases[1].workers[1].cpus_used.Add(0);

  ExpectOnlyFailure(WithStep(), run, "isolation");
  EXPECT_EQ(Find(Judge(WithStep(), run), "isolation").detail,
            "worker 1 (left, cpu_spin, pid 0) ran on CPU 0 after 1 steps, allowed are 1");
}

TEST(JudgeStepsTest, SpreadIsJudgedInPhasesOfASecondAndNotOfTheFrozen) {
  Measurements run = RunWithStep();
  run.phases[1].workers[1].run_ns = 0;
  ExpectOnlyFailure(WithStep(), run, "max_spread");

  run.phases[1].workers[0].frozen = run.phases[1].workers[1].frozen = true;
  EXPECT_TRUE(Find(Judge(WithStep(), run), "max_spread").ok);

  run.phases[1].workers[0].frozen = run.phases[1].workers[1].frozen = false;
  run.phases[1].end_ns = run.phases[1].start_ns + kSecond - 1;
  EXPECT_TRUE(Find(Judge(WithStep(), run), "max_spread").ok);
}

TEST(JudgeStepsTest, StepThatWasNotCarriedOutIsNoEvidence) {
  Measurements run = RunWithStep();
  run.steps.clear();

  ExpectOnlyFailure(WithStep(), run, "evidence");
}

TEST(JudgeStepsTest, WorkerThatAStepStoppedNeedsItsShareOfIterations) {
  Measurements run = RunWithStep();
  run.workers[1].stop_ns = 11 * kSecond;  // after one second of five
  run.workers[1].last_seen_ns = 11 * kSecond;
  run.workers[1].iterations = 20;
  EXPECT_TRUE(Find(Judge(WithStep(), run), "min_iterations").ok);

  run.workers[1].iterations = 19;

  const Outcome outcome = Find(Judge(WithStep(), run), "min_iterations");
  EXPECT_FALSE(outcome.ok);
  EXPECT_EQ(outcome.detail,
            "worker 1 (left, cpu_spin, pid 0) made the fewest, 20 are its share for 1.00s");
}

TEST(JudgeStepsTest, IndicesOfAHostileGuestPointNowhere) {
  Measurements run = RunWithStep();
  for (PhaseMeasurement& phase : run.phases) {
    for (PhaseFigures& figures : phase.workers) figures.index = 4000000000u;
  }
  run.groups = {{.cgroup = "none", .work = 77, .iterations = {1}}};
  Scenario scenario = WithStep();
  scenario.expect.max_variation = 1;

  EXPECT_FALSE(Find(Judge(scenario, run), "isolation").ok);
  EXPECT_FALSE(Find(Judge(scenario, run), "max_variation").ok);
}

TEST(JudgeTest, GapIsJudgedByDefaultWithTheScaledLimit) {
  Scenario scenario = TwoWorkers();
  scenario.expect.max_gap.reset();
  Measurements run = GoodRun();
  run.workers[0].max_gap_ns = 2 * kSecond;

  const Outcome hardware = Find(Judge(scenario, run, ScaledLimits(6000, false)), "max_gap");
  EXPECT_FALSE(hardware.ok);
  EXPECT_EQ(hardware.limit, "1.00s by default");
  const Outcome emulated =
      Find(Judge(scenario, run, ScaledLimits(3 * kReferenceCalibrationNs, true)), "max_gap");
  EXPECT_TRUE(emulated.ok);
  EXPECT_EQ(emulated.limit, "3.00s by default");
}

TEST(JudgeTest, WrittenGapIsNeverScaled) {
  Measurements run = GoodRun();
  run.workers[0].max_gap_ns = kSecond;

  EXPECT_FALSE(
      Find(Judge(TwoWorkers(), run, ScaledLimits(3 * kReferenceCalibrationNs, true)), "max_gap")
          .ok);
}

TEST(ScaledLimitsTest, ScaleIsBounded) {
  EXPECT_EQ(ScaledLimits(0, true).scale, 1);
  EXPECT_EQ(ScaledLimits(UINT64_MAX, true).scale, 10);
}

TEST(JudgeTest, RatesAreOverTheTimeOfAWorker) {
  Scenario scenario = TwoWorkers();
  scenario.expect = {.min_iteration_rate = 200, .max_migrations = 10, .max_migration_rate = 1};
  Measurements run = GoodRun();
  for (WorkerMeasurement& worker : run.workers) worker.migrations = 4;
  EXPECT_TRUE(Conclude(scenario, Judge(scenario, run)).pass);

  run.workers[1].iterations = 999;
  ExpectOnlyFailure(scenario, run, "min_iteration_rate");
  run.workers[1].frozen_ns = kSecond / 10;
  EXPECT_TRUE(Conclude(scenario, Judge(scenario, run)).pass);

  run.workers[0].migrations = 6;
  ExpectOnlyFailure(scenario, run, "max_migration_rate");
}

TEST(JudgeTest, VariationIsOfTheThroughputInWindowsOfHalfASecond) {
  Scenario scenario = TwoWorkers();
  scenario.expect = {.max_variation = 0.2};
  Measurements run = GoodRun();
  run.groups = {{.cgroup = "left", .work = 0}};
  uint64_t done = 0;
  for (uint64_t i = 0; i <= 50; ++i) {
    run.marks_ns.push_back(run.start_ns + i * kSecond / 10);
    run.groups[0].iterations.push_back(done);
    done += i % 2 == 0 ? 90 : 110;  // uneven, but not over half a second
  }
  EXPECT_TRUE(Find(Judge(scenario, run), "max_variation").ok);

  for (uint64_t i = 25; i <= 50; ++i) run.groups[0].iterations[i] += (i - 25) * 300;

  const Outcome outcome = Find(Judge(scenario, run), "max_variation");
  EXPECT_FALSE(outcome.ok);
  EXPECT_NE(outcome.detail.find("in 10 windows"), std::string::npos) << outcome.detail;
}

TEST(JudgeTest, StallNamesTheWorkGroup) {
  Scenario scenario = TwoWorkers();
  scenario.expect = {.max_stall = absl::Seconds(1)};
  Measurements run = GoodRun();
  run.groups = {{.cgroup = "left", .stall_ns = 2 * kSecond, .stall_at_ns = 12 * kSecond}};

  ExpectOnlyFailure(scenario, run, "max_stall");
  EXPECT_EQ(Find(Judge(scenario, run), "max_stall").detail,
            "work 0 of cgroup left from 2.00s into the run");
}

TEST(JudgeTest, ImbalanceIsTheMeanOfAllSamples) {
  Scenario scenario = TwoWorkers();
  scenario.expect = {.max_imbalance = 1.5};
  Measurements run = GoodRun();
  EXPECT_FALSE(Find(Judge(scenario, run), "max_imbalance").ok);  // never looked at
  run.imbalance = {.samples = 10, .mean = 1.4, .most = 7};
  EXPECT_TRUE(Find(Judge(scenario, run), "max_imbalance").ok);

  run.imbalance->mean = 1.6;

  ExpectOnlyFailure(scenario, run, "max_imbalance");
}

TEST(JudgeTest, LatencyHasOneOutcomePerPercentile) {
  Scenario scenario = TwoWorkers();
  scenario.expect = {.wakeup = {{.of = "left",
                                 .p50 = absl::Milliseconds(2),
                                 .longest = absl::Milliseconds(50)}}};
  Measurements run = GoodRun();
  for (int i = 0; i < 99; ++i) run.workers[0].wakeup.Add(Histogram::BucketOf(1000000), 1);
  run.workers[1].wakeup.Add(Histogram::BucketOf(80000000), 1);

  const std::vector<Outcome> outcomes = Judge(scenario, run);

  ASSERT_EQ(outcomes.size(), 4u);
  EXPECT_EQ(outcomes[2].of, "left p50");
  EXPECT_TRUE(outcomes[2].ok);
  EXPECT_EQ(outcomes[3].of, "left longest");
  EXPECT_FALSE(outcomes[3].ok);
  EXPECT_EQ(outcomes[3].detail, "100 times");
}

TEST(JudgeTest, LatencyThatNobodyHadDoesNotHold) {
  Scenario scenario = TwoWorkers();
  scenario.expect = {.response = {{.of = "left", .p50 = absl::Seconds(2)}}};

  ExpectOnlyFailure(scenario, GoodRun(), "response");
}

TEST(JudgeTest, RatioComparesSumsWithinItsTolerance) {
  Scenario scenario = TwoWorkers();
  scenario.cgroups.push_back({.name = "right", .work = {{.name = "light"}}});
  scenario.expect = {.ratio = {{.of = "left", .to = "light", .is = 4, .tolerance = 0.25}}};
  Measurements run = GoodRun();
  WorkerMeasurement light = run.workers[0];
  light.index = 2;
  light.cgroup = "right";
  light.run_ns = kSecond;
  run.workers.push_back(light);
  EXPECT_TRUE(Find(Judge(scenario, run), "ratio").ok);

  run.workers[2].run_ns = 2 * kSecond;

  ExpectOnlyFailure(scenario, run, "ratio");
  const Outcome outcome = Find(Judge(scenario, run), "ratio");
  EXPECT_EQ(outcome.of, "left to light");
  EXPECT_EQ(outcome.measured, "2");
  EXPECT_EQ(outcome.limit, "3 to 5");
}

TEST(JudgeTest, RatioOfAPhaseLooksAtNothingElse) {
  Scenario scenario = WithStep();
  scenario.cgroups[0].work = {{.name = "a"}, {.name = "b"}};
  scenario.expect = {.ratio = {{.of = "a", .to = "b", .is = 3, .phase = 1}}};
  Measurements run = RunWithStep();
  run.workers[1].work = 1;
  run.phases[1].workers[0].run_ns = 3 * kSecond;
  run.phases[1].workers[1].run_ns = kSecond;

  EXPECT_TRUE(Find(Judge(scenario, run), "ratio").ok);
}

TEST(JudgeTest, EventThatTheKernelDoesNotCountIsMissingAndNoFailure) {
  Scenario scenario = TwoWorkers();
  scenario.expect = {.scx_events = {{.name = "SCX_EV_X", .max = 1}}};
  Measurements run = GoodRun();
  const Judgement without = Conclude(scenario, Judge(scenario, run));
  EXPECT_FALSE(without.pass);
  EXPECT_TRUE(without.missing);
  EXPECT_NE(without.reason.find("the kernel does not provide it"), std::string::npos);

  run.scx_events = {{"SCX_EV_X", 1}};
  EXPECT_TRUE(Conclude(scenario, Judge(scenario, run)).pass);
  run.scx_events = {{"SCX_EV_X", 2}};
  EXPECT_FALSE(Conclude(scenario, Judge(scenario, run)).missing);
  // A real failure counts more than something that is missing.
  run.scx_events.reset();
  run.workers[0].ended_early = true;
  EXPECT_FALSE(Conclude(scenario, Judge(scenario, run)).missing);
}

TEST(ConcludeTest, ShouldFailOfAListNeedsOneEntryThatFails) {
  Scenario scenario = TwoWorkers();
  scenario.expect = {.wakeup = {{.of = "left",
                                 .p50 = absl::Milliseconds(2),
                                 .longest = absl::Milliseconds(50)}},
                     .should_fail = "wakeup"};
  Measurements run = GoodRun();
  run.workers[0].wakeup.Add(Histogram::BucketOf(1000000), 1);
  EXPECT_FALSE(Conclude(scenario, Judge(scenario, run)).pass);

  run.workers[1].wakeup.Add(Histogram::BucketOf(80000000), 1);

  EXPECT_TRUE(Conclude(scenario, Judge(scenario, run)).pass);
}

TEST(ConcludeTest, ShouldFailTurnsOnlyItsOwnExpectationAround) {
  Scenario scenario = TwoWorkers();
  scenario.expect.should_fail = "max_gap";
  Measurements starved = GoodRun();
  starved.workers[0].max_gap_ns = kSecond;
  Measurements died = starved;
  died.workers[1].ended_early = true;

  EXPECT_TRUE(Conclude(scenario, Judge(scenario, starved)).pass);
  EXPECT_FALSE(Conclude(scenario, Judge(scenario, GoodRun())).pass);
  EXPECT_FALSE(Conclude(scenario, Judge(scenario, died)).pass);
}

TEST(ConcludeTest, ReasonIsTheFirstFailure) {
  Measurements run = GoodRun();
  run.workers[1].max_gap_ns = 1980000000;
  run.workers[1].iterations = 1;

  EXPECT_EQ(Conclude(TwoWorkers(), Judge(TwoWorkers(), run)).reason,
            "max_gap: 1.98s, limit 500ms: worker 1 (left, cpu_spin, pid 0) waited on CPU 0 from "
            "2.00s into the run");
}

}  // namespace
}  // namespace stasis
