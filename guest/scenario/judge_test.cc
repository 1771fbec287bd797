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
    run.workers.push_back(worker);
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
  run.workers[1].run_ns = 1500000000;

  ExpectOnlyFailure(TwoWorkers(), run, "max_spread");
  EXPECT_EQ(Find(Judge(TwoWorkers(), run), "max_spread").measured, "0.25");
}

TEST(JudgeTest, SpreadDoesNotCompareDifferentWorkGroups) {
  Scenario scenario = TwoWorkers();
  scenario.cgroups[0].work = {{.workers = 1}, {.workers = 1, .nice = 10}};
  Measurements run = GoodRun();
  run.workers[1].work = 1;
  run.workers[1].run_ns = 100000000;

  EXPECT_TRUE(Find(Judge(scenario, run), "max_spread").ok);
}

TEST(JudgeTest, SpreadOfAGroupThatNeverRanIsTheWorst) {
  Measurements run = GoodRun();
  for (WorkerMeasurement& worker : run.workers) worker.run_ns = 0;

  EXPECT_FALSE(Find(Judge(TwoWorkers(), run), "max_spread").ok);
}

TEST(JudgeTest, WorkerOutsideItsCpusFailsIsolation) {
  Measurements run = GoodRun();
  run.workers[0].cpus_used.Add(3);

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
