#include "tools/harness/scenario_verdict.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "guest/scenario/expect_table.h"
#include "guest/scenario/judge.h"
#include "guest/scenario/scheduler_judge.h"

namespace stasis {
namespace {

constexpr double kNoisyShare = 0.1;

DefaultLimits LimitsOf(const ScenarioEvidence& evidence) {
  return ScaledLimits(evidence.measurements->calibration_ns, evidence.emulated);
}

std::string DefaultLimitsText(const Scenario& scenario, const ScenarioEvidence& evidence) {
  if (scenario.expect.max_gap.has_value()) return "";
  const DefaultLimits limits = LimitsOf(evidence);
  std::string text = absl::StrCat("default limits: max_gap ", DurationText(limits.max_gap));
  if (!evidence.emulated) return text;
  return absl::StrFormat(
      "%s, which is %s x %.1f: this host is emulated (a byte through a pipe takes %.1f us, on "
      "hardware %.1f)",
      text, DurationText(DefaultLimits().max_gap), limits.scale,
      evidence.measurements->calibration_ns * 1e-3, kReferenceCalibrationNs * 1e-3);
}

// Whether the gaps above the limit are the host's.
bool HostExplainsGaps(absl::Duration limit, const ScenarioEvidence& evidence) {
  for (const WorkerMeasurement& worker : evidence.measurements->workers) {
    const absl::Duration gap = absl::Nanoseconds(worker.max_gap_ns);
    if (gap <= limit) continue;
    const uint64_t end_ns = worker.gap_at_ns + worker.max_gap_ns;
    if (gap - evidence.host_delay(worker.cpus_allowed, worker.gap_at_ns, end_ns) > limit) {
      return false;
    }
  }
  return true;
}

// "cpu_spin[45] failed to run for 2.076s", "watchdog failed to check in for 2.004s": zero if it
// says something else.
absl::Duration StalledFor(absl::string_view message) {
  constexpr absl::string_view kSaid = " for ";
  const size_t at = message.rfind(kSaid);
  absl::Duration stalled;
  if (at == absl::string_view::npos ||
      !absl::ParseDuration(message.substr(at + kSaid.size()), &stalled)) {
    return absl::ZeroDuration();
  }
  return stalled;
}

// The watchdog counts the guest's time, in which a vCPU that waits for the host runs nobody.
bool HostExplainsStall(const ScenarioEvidence& evidence) {
  const std::optional<SchedulerMeasurement>& scheduler = evidence.measurements->scheduler;
  if (!scheduler.has_value() || !scheduler->end.has_value() ||
      scheduler->end->kind != SchedulerEndKind::kStall) {
    return false;
  }
  const absl::Duration stalled = StalledFor(scheduler->end->message);
  const uint64_t to_ns = scheduler->end->at_ns;
  const uint64_t from_ns = to_ns - std::min<uint64_t>(to_ns, absl::ToInt64Nanoseconds(stalled));
  CpuSet cpus;
  for (const WorkerMeasurement& worker : evidence.measurements->workers) {
    cpus = cpus | worker.cpus_allowed;
  }
  return stalled > absl::ZeroDuration() &&
         evidence.host_delay(cpus, from_ns, to_ns) > (1 - kNoisyShare) * stalled;
}

absl::Duration WorstDelay(const ScenarioEvidence& evidence) {
  CpuSet cpus;
  for (const WorkerMeasurement& worker : evidence.measurements->workers) {
    cpus = cpus | worker.cpus_allowed;
  }
  return evidence.host_delay(cpus, evidence.measurements->start_ns, evidence.measurements->end_ns);
}

bool HostWasNoisy(const ScenarioEvidence& evidence) {
  const Measurements& measurements = *evidence.measurements;
  const absl::Duration window = absl::Nanoseconds(measurements.end_ns - measurements.start_ns);
  return WorstDelay(evidence) > kNoisyShare * window;
}

// Whether the failure of `outcome` may be the host's.
bool HostExplains(const Scenario& scenario, const ScenarioEvidence& evidence,
                  const Outcome& outcome) {
  if (!evidence.host_delay) return false;
  if (outcome.name == "max_gap") {
    return HostExplainsGaps(scenario.expect.max_gap.value_or(LimitsOf(evidence).max_gap), evidence);
  }
  if (IsOfScheduler(outcome)) return HostExplainsStall(evidence);
  const ExpectationInfo* info = ExpectationByName(outcome.name);
  return info != nullptr && info->host_can_break && HostWasNoisy(evidence);
}

// A worker that ended by itself speaks of the workload, a run that was too short of the agent; all
// that is measured speaks of the scheduler.
Layer LayerOf(const Outcome& outcome) {
  if (outcome.name == "scheduler_load") return Layer::kSchedulerLoad;
  return outcome.name == "evidence" ? Layer::kWorkload : Layer::kScheduler;
}

ExpectationReport ReportOf(const Outcome& outcome) {
  std::string text = outcome.measured;
  if (!outcome.limit.empty() && (outcome.ok || !IsOfScheduler(outcome)))
    absl::StrAppend(&text, ", limit ", outcome.limit);
  if (!outcome.detail.empty()) absl::StrAppend(&text, " (", outcome.detail, ")");
  if (outcome.missing) text = outcome.detail;
  const std::string name =
      outcome.of.empty() ? outcome.name : absl::StrCat(outcome.name, " of ", outcome.of);
  return {name, outcome.ok, OneLine(text)};
}

// Of an outcome that fails because somebody did not get to run: the monitor has seen who.
bool IsAboutWaiting(const Outcome& outcome) {
  return outcome.reason == fields::NameOf(SchedulerEndKind::kStall) || outcome.name == "max_gap" ||
         outcome.name == "max_stall" || outcome.name == "min_iterations" ||
         outcome.name == "evidence";
}

// The finding of the scenario's own figures. `waiting`: it is about that.
Finding JudgeFigures(const Scenario& scenario, const ScenarioEvidence& evidence,
                     const std::vector<Outcome>& outcomes, bool* waiting) {
  const Judgement judgement = Conclude(scenario, outcomes);
  if (judgement.pass) {
    // The reason is of interest where a failure was what should be seen.
    return {Verdict::kPass, Layer::kNone,
            scenario.expect.should_fail.has_value() ? judgement.reason : ""};
  }
  if (judgement.missing) {
    return {Verdict::kInconclusive, Layer::kScheduler, judgement.reason,
            "run on a kernel that has it, or do without that expectation"};
  }
  const Outcome* first = nullptr;
  bool all_explained = true;
  for (const Outcome& outcome : outcomes) {
    if (outcome.ok || outcome.missing || ShouldFail(scenario, outcome)) continue;
    if (first == nullptr) first = &outcome;
    all_explained = all_explained && HostExplains(scenario, evidence, outcome);
  }
  if (first == nullptr) {  // should_fail, and nothing did, or in another way
    const bool load = !outcomes.empty() && LayerOf(outcomes.front()) == Layer::kSchedulerLoad;
    return {Verdict::kFail, load ? Layer::kSchedulerLoad : Layer::kScheduler, judgement.reason};
  }
  *waiting = IsAboutWaiting(*first);
  if (!all_explained) return {Verdict::kFail, LayerOf(*first), judgement.reason};
  return {Verdict::kInconclusive, Layer::kHost,
          absl::StrFormat("%s; but a vCPU waited %s for a CPU of the host", judgement.reason,
                          DurationText(WorstDelay(evidence))),
          "run again on a quieter host or with fewer vCPUs"};
}

}  // namespace

ScenarioVerdict JudgeScenario(const Scenario& scenario, const ScenarioEvidence& evidence) {
  ScenarioVerdict verdict;
  std::optional<Finding> figures;
  bool waiting = false;
  if (evidence.measurements.has_value()) {
    const std::vector<Outcome> outcomes =
        Judge(scenario, *evidence.measurements, LimitsOf(evidence));
    verdict.default_limits = DefaultLimitsText(scenario, evidence);
    for (const Outcome& outcome : outcomes) verdict.expectations.push_back(ReportOf(outcome));
    figures = JudgeFigures(scenario, evidence, outcomes, &waiting);
  }
  const bool interrupted = evidence.guest_end.has_value() && evidence.guest_end->interrupted;
  if (interrupted) {
    verdict.finding = *evidence.guest_end;
  } else if (evidence.monitor.has_value() &&
             (waiting || !figures.has_value() || figures->verdict != Verdict::kFail)) {
    verdict.finding = *evidence.monitor;
    for (const std::optional<Finding>* other :
         {static_cast<const std::optional<Finding>*>(&figures), &evidence.early,
          &evidence.guest_end}) {
      if (other->has_value() && (*other)->verdict != Verdict::kPass) {
        verdict.warnings.push_back(FirstLine(**other));
      }
    }
  } else if (figures.has_value() && figures->verdict == Verdict::kFail) {
    verdict.finding = *figures;
    if (evidence.guest_end.has_value()) verdict.warnings.push_back(FirstLine(*evidence.guest_end));
  } else if (evidence.early.has_value()) {
    verdict.finding = *evidence.early;
    if (evidence.guest_end.has_value()) verdict.warnings.push_back(FirstLine(*evidence.guest_end));
  } else if (evidence.guest_end.has_value()) {
    verdict.finding = *evidence.guest_end;
  } else if (!evidence.alarms.empty()) {
    const ConsoleAlarm& alarm = evidence.alarms.front();
    verdict.finding = {Verdict::kFail, Layer::kScheduler,
                       absl::StrCat("the guest kernel reported trouble: ", alarm.line)};
  } else if (!figures.has_value()) {
    verdict.finding = {Verdict::kError, Layer::kAgent, "the guest ended without a result"};
  } else {
    verdict.finding = *figures;
  }
  return verdict;
}

}  // namespace stasis
