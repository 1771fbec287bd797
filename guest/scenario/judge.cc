#include "guest/scenario/judge.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "guest/scenario/scheduler_judge.h"

namespace stasis {
namespace {

constexpr absl::Duration kLongestSilence = absl::Seconds(1);

// Three digits are as much as is worth reading.
std::string Readable(absl::Duration duration) {
  const double seconds = absl::ToDoubleSeconds(duration);
  if (seconds >= 1) return absl::StrFormat("%.2fs", seconds);
  if (seconds >= 1e-3) return absl::StrFormat("%.3gms", seconds * 1e3);
  return absl::StrFormat("%.3gus", seconds * 1e6);
}

absl::Duration Ns(uint64_t ns) {
  return absl::Nanoseconds(static_cast<int64_t>(std::min<uint64_t>(ns, INT64_MAX)));
}

std::string NameOf(const WorkerMeasurement& worker) {
  return absl::StrCat("worker ", worker.index, " (", worker.cgroup, ", ", worker.kind, ", pid ",
                      worker.pid, ")");
}

// Why the figures prove nothing; "" if they do.
std::string MissingEvidence(const Scenario& scenario, const Measurements& measurements) {
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
  if (ran < scenario.duration) {
    return absl::StrCat("it ran for ", Readable(ran), " only");
  }
  for (const WorkerMeasurement& worker : measurements.workers) {
    if (!worker.started) return absl::StrCat(NameOf(worker), " never ran");
    if (worker.iterations == 0) return absl::StrCat(NameOf(worker), " did not get a thing done");
    // With max_gap, a worker that waits at the end is judged by that; without it, silence would
    // pass for work.
    const uint64_t silent_ns =
        measurements.end_ns - std::min(worker.last_seen_ns, measurements.end_ns);
    if (!scenario.expect.max_gap.has_value() && Ns(silent_ns) > kLongestSilence) {
      return absl::StrCat(NameOf(worker), " was last seen ", Readable(Ns(silent_ns)),
                          " before the end");
    }
  }
  return "";
}

Outcome JudgeEvidence(const Scenario& scenario, const Measurements& measurements) {
  Outcome outcome{
      .name = "evidence",
      .limit = absl::StrCat(WorkerCount(scenario), " workers for ", Readable(scenario.duration)),
      .measured = absl::StrCat(
          measurements.workers.size(), " workers for ",
          Readable(Ns(measurements.end_ns - std::min(measurements.start_ns, measurements.end_ns)))),
      .detail = MissingEvidence(scenario, measurements)};
  outcome.ok = outcome.detail.empty();
  return outcome;
}

Outcome JudgeGap(absl::Duration limit, const Measurements& measurements) {
  Outcome outcome{.name = "max_gap", .limit = Readable(limit), .measured = "nothing"};
  const WorkerMeasurement* worst = nullptr;
  for (const WorkerMeasurement& worker : measurements.workers) {
    if (worst == nullptr || worker.max_gap_ns > worst->max_gap_ns) worst = &worker;
  }
  if (worst == nullptr) return outcome;
  const uint64_t began = worst->gap_at_ns - std::min(worst->gap_at_ns, measurements.start_ns);
  outcome.measured = Readable(Ns(worst->max_gap_ns));
  outcome.ok = Ns(worst->max_gap_ns) <= limit;
  outcome.detail =
      absl::StrCat(NameOf(*worst), worst->gap_unfinished ? " still waits" : " waited", " on CPU ",
                   worst->gap_cpu, " from ", Readable(Ns(began)), " into the run");
  return outcome;
}

Outcome JudgeSpread(double limit, const Measurements& measurements) {
  struct Range {
    const WorkerMeasurement* least = nullptr;
    const WorkerMeasurement* most = nullptr;
  };
  std::map<std::tuple<std::string, uint32_t, std::string>, Range> groups;
  for (const WorkerMeasurement& worker : measurements.workers) {
    Range& range = groups[{worker.cgroup, worker.work, worker.role}];
    if (range.least == nullptr || worker.run_ns < range.least->run_ns) range.least = &worker;
    if (range.most == nullptr || worker.run_ns > range.most->run_ns) range.most = &worker;
  }
  Outcome outcome{
      .name = "max_spread", .limit = absl::StrFormat("%.3g", limit), .measured = "nothing"};
  double worst = -1;
  for (const auto& [key, range] : groups) {
    // A group in which nobody ran at all is no fair one.
    const double most = static_cast<double>(range.most->run_ns);
    const double spread = most == 0 ? 1 : (most - static_cast<double>(range.least->run_ns)) / most;
    if (spread <= worst) continue;
    worst = spread;
    outcome.measured = absl::StrFormat("%.3g", spread);
    outcome.detail = absl::StrCat("cgroup ", std::get<0>(key), ": worker ", range.least->index,
                                  " ran ", Readable(Ns(range.least->run_ns)), ", worker ",
                                  range.most->index, " ", Readable(Ns(range.most->run_ns)));
  }
  outcome.ok = worst >= 0 && worst <= limit;
  return outcome;
}

Outcome JudgeIsolation(const Measurements& measurements) {
  Outcome outcome{.name = "isolation", .limit = "inside its CPUs", .measured = "nothing"};
  uint64_t outside = 0;
  for (const WorkerMeasurement& worker : measurements.workers) {
    const CpuSet stray = worker.cpus_used.Without(worker.cpus_allowed);
    if (stray.empty()) continue;
    ++outside;
    if (!outcome.detail.empty()) continue;
    outcome.detail = absl::StrCat(NameOf(worker), " ran on CPU ", stray.ToString(),
                                  ", allowed are ", worker.cpus_allowed.ToString());
  }
  outcome.measured = absl::StrCat(outside, " of ", measurements.workers.size(), " workers outside");
  outcome.ok = outside == 0 && !measurements.workers.empty();
  return outcome;
}

Outcome JudgeIterations(uint64_t limit, const Measurements& measurements) {
  Outcome outcome{.name = "min_iterations", .limit = absl::StrCat(limit), .measured = "nothing"};
  const WorkerMeasurement* least = nullptr;
  for (const WorkerMeasurement& worker : measurements.workers) {
    if (least == nullptr || worker.iterations < least->iterations) least = &worker;
  }
  if (least == nullptr) return outcome;
  outcome.measured = absl::StrCat(least->iterations);
  outcome.ok = least->iterations >= limit;
  outcome.detail = absl::StrCat(NameOf(*least), " made the fewest");
  return outcome;
}

}  // namespace

std::vector<Outcome> Judge(const Scenario& scenario, const Measurements& measurements) {
  const ExpectSpec& expect = scenario.expect;
  std::vector<Outcome> outcomes;
  if (scenario.scheduler.has_value()) {
    outcomes.push_back(JudgeScheduler(scenario, measurements));
    if (!outcomes.back().ok) return outcomes;
  }
  outcomes.push_back(JudgeEvidence(scenario, measurements));
  if (expect.max_gap) outcomes.push_back(JudgeGap(*expect.max_gap, measurements));
  if (expect.max_spread) outcomes.push_back(JudgeSpread(*expect.max_spread, measurements));
  if (expect.isolation) outcomes.push_back(JudgeIsolation(measurements));
  if (expect.min_iterations) {
    outcomes.push_back(JudgeIterations(*expect.min_iterations, measurements));
  }
  return outcomes;
}

bool ShouldFail(const Scenario& scenario, const Outcome& outcome) {
  if (!scenario.expect.should_fail.has_value()) return false;
  return *scenario.expect.should_fail == outcome.name ||
         (IsOfScheduler(outcome) && IsSchedulerFailure(*scenario.expect.should_fail));
}

Judgement Conclude(const Scenario& scenario, const std::vector<Outcome>& outcomes) {
  const Outcome* wanted_failure = nullptr;
  for (const Outcome& outcome : outcomes) {
    const bool should_fail = ShouldFail(scenario, outcome);
    if (should_fail) wanted_failure = &outcome;
    const bool failed_as_stated = IsOfScheduler(outcome) && should_fail
                                      ? IsStatedFailure(*scenario.expect.should_fail, outcome)
                                      : !outcome.ok;
    if (should_fail ? failed_as_stated : outcome.ok) continue;
    // An end of the scheduler is a sentence of its own, without a limit.
    if (IsOfScheduler(outcome)) {
      return {.pass = false,
              .reason = absl::StrCat(outcome.measured,
                                     should_fail ? ", should have ended by " : "",
                                     should_fail ? *scenario.expect.should_fail : "")};
    }
    return {
        .pass = false,
        .reason = absl::StrCat(outcome.name, ": ", outcome.measured,
                               should_fail ? ", should have been outside of " : ", limit ",
                               outcome.limit, outcome.detail.empty() ? "" : ": ", outcome.detail)};
  }
  if (scenario.expect.should_fail.has_value() && wanted_failure == nullptr) {
    return {.pass = false, .reason = absl::StrCat(*scenario.expect.should_fail, " was not judged")};
  }
  if (wanted_failure != nullptr && IsOfScheduler(*wanted_failure)) {
    return {.pass = true, .reason = absl::StrCat("fails as it should: ", wanted_failure->measured)};
  }
  if (wanted_failure != nullptr) {
    return {.pass = true,
            .reason = absl::StrCat("fails as it should: ", wanted_failure->name, " ",
                                   wanted_failure->measured, ", limit ", wanted_failure->limit)};
  }
  return {.pass = true, .reason = "every expectation held"};
}

}  // namespace stasis
