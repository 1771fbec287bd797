#include "guest/scenario/judge.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "guest/scenario/judge_figures.h"
#include "guest/scenario/scheduler_judge.h"

namespace stasis {
namespace {

constexpr double kMostScale = 10;

using judge::LifeOf;
using judge::NameOf;
using judge::Ns;
using judge::Readable;

// Why the figures prove nothing; "" if they do.
std::string MissingEvidence(const Scenario& scenario, const Measurements& measurements,
                            const DefaultLimits& defaults) {
  if (measurements.workers.size() != WorkerCount(scenario)) {
    return absl::StrCat(measurements.workers.size(), " workers reported, the scenario has ",
                        WorkerCount(scenario));
  }
  for (const WorkerMeasurement& worker : measurements.workers) {
    if (worker.ended_early) {
      return absl::StrCat(NameOf(worker), " ended before its time, by ",
                          worker.exit_signal != 0 ? absl::StrCat("signal ", worker.exit_signal)
                                                  : absl::StrCat("exit code ", worker.exit_code));
    }
  }
  const absl::Duration ran = measurements.end_ns < measurements.start_ns
                                 ? absl::ZeroDuration()
                                 : Ns(measurements.end_ns - measurements.start_ns);
  if (ran < scenario.duration) return absl::StrCat("it ran for ", Readable(ran), " only");
  if (measurements.steps.size() != scenario.steps.size()) {
    return absl::StrCat(measurements.steps.size(), " of ", scenario.steps.size(),
                        " steps were carried out");
  }
  for (const WorkerMeasurement& worker : measurements.workers) {
    // One that steps let run for a moment only may not have come to anything.
    if (LifeOf(worker, measurements) < std::min(defaults.max_gap, scenario.duration)) continue;
    if (!worker.started) return absl::StrCat(NameOf(worker), " never ran");
    if (worker.iterations == 0) return absl::StrCat(NameOf(worker), " did not get a thing done");
    // With max_gap, a worker that waits at the end is judged by that; without it, silence would
    // pass for work.
    const uint64_t end_ns = worker.stop_ns != 0 ? worker.stop_ns : measurements.end_ns;
    const uint64_t silent_ns = end_ns - std::min(worker.last_seen_ns + worker.frozen_ns, end_ns);
    if (!scenario.expect.max_gap.has_value() && Ns(silent_ns) > defaults.max_gap) {
      return absl::StrCat(NameOf(worker), " was last seen ", Readable(Ns(silent_ns)),
                          " before the end");
    }
  }
  return "";
}

Outcome JudgeEvidence(const Scenario& scenario, const Measurements& measurements,
                      const DefaultLimits& defaults) {
  Outcome outcome{
      .name = "evidence",
      .limit = absl::StrCat(WorkerCount(scenario), " workers for ", Readable(scenario.duration)),
      .measured = absl::StrCat(
          measurements.workers.size(), " workers for ",
          Readable(Ns(measurements.end_ns - std::min(measurements.start_ns, measurements.end_ns)))),
      .detail = MissingEvidence(scenario, measurements, defaults)};
  if (!scenario.steps.empty()) {
    absl::StrAppend(&outcome.limit, ", ", scenario.steps.size(), " steps");
    absl::StrAppend(&outcome.measured, ", ", measurements.steps.size(), " steps");
  }
  outcome.ok = outcome.detail.empty();
  return outcome;
}

Outcome JudgeDefaultGap(const DefaultLimits& defaults, const Measurements& measurements) {
  Outcome outcome = judge::Gap(defaults.max_gap, measurements);
  absl::StrAppend(&outcome.limit, " by default");
  return outcome;
}

std::string NameOf(const Outcome& outcome) {
  return outcome.of.empty() ? outcome.name : absl::StrCat(outcome.name, " of ", outcome.of);
}

}  // namespace

DefaultLimits ScaledLimits(uint64_t calibration_ns, bool emulated) {
  DefaultLimits limits;
  if (!emulated) return limits;
  limits.scale =
      std::clamp(static_cast<double>(calibration_ns) / kReferenceCalibrationNs, 1.0, kMostScale);
  limits.max_gap *= limits.scale;
  return limits;
}

std::vector<Outcome> Judge(const Scenario& scenario, const Measurements& measurements,
                           const DefaultLimits& defaults) {
  const ExpectSpec& expect = scenario.expect;
  std::vector<Outcome> outcomes;
  if (scenario.scheduler.has_value()) {
    outcomes.push_back(JudgeScheduler(scenario, measurements));
    if (!outcomes.back().ok) return outcomes;
  }
  outcomes.push_back(JudgeEvidence(scenario, measurements, defaults));
  outcomes.push_back(expect.max_gap ? judge::Gap(*expect.max_gap, measurements)
                                    : JudgeDefaultGap(defaults, measurements));
  if (expect.max_spread) outcomes.push_back(judge::Spread(*expect.max_spread, measurements));
  if (expect.isolation) outcomes.push_back(judge::Isolation(measurements));
  if (expect.min_iterations) {
    outcomes.push_back(judge::Iterations(*expect.min_iterations, scenario, measurements));
  }
  if (expect.min_iteration_rate) {
    outcomes.push_back(judge::IterationRate(*expect.min_iteration_rate, measurements));
  }
  if (expect.max_migrations) {
    outcomes.push_back(judge::Migrations(*expect.max_migrations, measurements));
  }
  if (expect.max_migration_rate) {
    outcomes.push_back(judge::MigrationRate(*expect.max_migration_rate, measurements));
  }
  if (expect.max_variation) {
    outcomes.push_back(judge::Variation(*expect.max_variation, measurements));
  }
  if (expect.max_stall) outcomes.push_back(judge::Stall(*expect.max_stall, measurements));
  if (expect.max_imbalance) {
    outcomes.push_back(judge::Imbalance(*expect.max_imbalance, measurements));
  }
  for (const LatencyExpect& entry : expect.wakeup) {
    judge::Latency("wakeup", entry, scenario, measurements, &outcomes);
  }
  for (const LatencyExpect& entry : expect.response) {
    judge::Latency("response", entry, scenario, measurements, &outcomes);
  }
  for (const RatioExpect& entry : expect.ratio) {
    outcomes.push_back(judge::Ratio(entry, scenario, measurements));
  }
  for (const ScxEventExpect& entry : expect.scx_events) {
    outcomes.push_back(judge::ScxEvent(entry, measurements));
  }
  return outcomes;
}

bool ShouldFail(const Scenario& scenario, const Outcome& outcome) {
  if (!scenario.expect.should_fail.has_value()) return false;
  return *scenario.expect.should_fail == outcome.name ||
         (IsOfScheduler(outcome) && IsSchedulerFailure(*scenario.expect.should_fail));
}

Judgement Conclude(const Scenario& scenario, const std::vector<Outcome>& outcomes) {
  const auto failed_as_stated = [&scenario](const Outcome& outcome) {
    return IsOfScheduler(outcome) ? IsStatedFailure(*scenario.expect.should_fail, outcome)
                                  : !outcome.ok;
  };
  const Outcome* wanted = nullptr;  // what should fail: of a list, an entry that did
  const Outcome* missing = nullptr;
  for (const Outcome& outcome : outcomes) {
    if (!ShouldFail(scenario, outcome)) continue;
    if (wanted == nullptr || !failed_as_stated(*wanted)) wanted = &outcome;
  }
  for (const Outcome& outcome : outcomes) {
    const bool should_fail = ShouldFail(scenario, outcome);
    if (outcome.missing && missing == nullptr) missing = &outcome;
    if (outcome.missing || (should_fail ? failed_as_stated(*wanted) : outcome.ok)) continue;
    // An end of the scheduler is a sentence of its own, without a limit.
    if (IsOfScheduler(outcome)) {
      return {.pass = false,
              .reason = absl::StrCat(outcome.measured, should_fail ? ", should have ended by " : "",
                                     should_fail ? *scenario.expect.should_fail : "")};
    }
    return {
        .pass = false,
        .reason = absl::StrCat(NameOf(outcome), ": ", outcome.measured,
                               should_fail ? ", should have been outside of " : ", limit ",
                               outcome.limit, outcome.detail.empty() ? "" : ": ", outcome.detail)};
  }
  if (missing != nullptr) {
    return {.pass = false,
            .missing = true,
            .reason = absl::StrCat(NameOf(*missing), ": ", missing->detail)};
  }
  if (scenario.expect.should_fail.has_value() && wanted == nullptr) {
    return {.pass = false, .reason = absl::StrCat(*scenario.expect.should_fail, " was not judged")};
  }
  if (wanted != nullptr && IsOfScheduler(*wanted)) {
    return {.pass = true, .reason = absl::StrCat("fails as it should: ", wanted->measured)};
  }
  if (wanted != nullptr) {
    return {.pass = true,
            .reason = absl::StrCat("fails as it should: ", NameOf(*wanted), " ", wanted->measured,
                                   ", limit ", wanted->limit)};
  }
  return {.pass = true, .reason = "every expectation held"};
}

}  // namespace stasis
