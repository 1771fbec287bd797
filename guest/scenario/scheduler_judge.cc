#include "guest/scenario/scheduler_judge.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace stasis {
namespace {

constexpr char kAttached[] = "scheduler";
constexpr char kLoad[] = "scheduler_load";

std::string Seconds(uint64_t from_ns, uint64_t to_ns) {
  return absl::StrFormat("%.2fs",
                         to_ns < from_ns ? 0.0 : static_cast<double>(to_ns - from_ns) / 1e9);
}

std::string HowItExited(const SchedulerEnd& end) {
  if (!end.error.empty()) return absl::StrCat("could not be started: ", end.error);
  if (end.exit_signal != 0) return absl::StrCat("was killed by signal ", end.exit_signal);
  return absl::StrCat("exited with code ", end.exit_code);
}

std::string WithItsWords(std::string text, const SchedulerEnd& end) {
  if (!end.reason.empty()) {
    return absl::StrCat(text, ": ", end.reason, end.message.empty() ? "" : ": ", end.message);
  }
  return end.last_line.empty() ? text : absl::StrCat(text, "; it said: ", end.last_line);
}

std::string DescribeLoad(const SchedulerMeasurement& scheduler, const SchedulerEnd& end) {
  const std::string after = Seconds(scheduler.started_ns, end.at_ns);
  switch (end.kind) {
    case SchedulerEndKind::kExited:
    case SchedulerEndKind::kUnregistered:
      return WithItsWords(absl::StrCat(scheduler.command, " ", HowItExited(end),
                                       end.error.empty() ? absl::StrCat(" after ", after) : "",
                                       ", before the kernel showed it attached"),
                          end);
    case SchedulerEndKind::kNotAttached:
      return WithItsWords(
          absl::StrCat(scheduler.command, " was not attached within ", after,
                       scheduler.ops.empty() ? "" : ", the kernel shows ", scheduler.ops,
                       " (sched_ext is ", end.state.empty() ? "not readable" : end.state, ")"),
          end);
    default:
      return WithItsWords(absl::StrCat("the kernel refused ", scheduler.command), end);
  }
}

std::string DescribeEnd(const SchedulerMeasurement& scheduler, uint64_t start_ns,
                        const SchedulerEnd& end) {
  const std::string when = start_ns == 0
                               ? std::string("before the workers were started")
                               : absl::StrCat(Seconds(start_ns, end.at_ns), " into the run");
  switch (end.kind) {
    case SchedulerEndKind::kExited:
    case SchedulerEndKind::kUnregistered:
      // The signal that ended it was ours then, and explains nothing.
      if (end.running) {
        return WithItsWords(absl::StrCat(scheduler.ops, " was no longer attached ", when,
                                         ", while ", scheduler.command, " ran on"),
                            end);
      }
      return WithItsWords(absl::StrCat(scheduler.command, " ", HowItExited(end), " ", when), end);
    case SchedulerEndKind::kReplaced:
      return absl::StrCat(when, " the kernel no longer showed ", scheduler.ops, " (", end.message,
                          ")");
    default:
      return WithItsWords(absl::StrCat("the kernel ended ", scheduler.ops, " ", when), end);
  }
}

}  // namespace

Outcome JudgeScheduler(const Scenario& scenario, const Measurements& measurements) {
  Outcome outcome{.name = kAttached, .limit = "attached from first to last sample"};
  if (!measurements.scheduler.has_value()) {
    outcome.measured = absl::StrCat(CommandOf(*scenario.scheduler), " was not reported");
    return outcome;
  }
  const SchedulerMeasurement& scheduler = *measurements.scheduler;
  if (scheduler.end.has_value()) {
    const SchedulerEnd& end = *scheduler.end;
    outcome.name = end.attached ? kAttached : kLoad;
    outcome.reason = fields::NameOf(end.kind);
    outcome.measured = end.attached ? DescribeEnd(scheduler, measurements.start_ns, end)
                                    : DescribeLoad(scheduler, end);
    return outcome;
  }
  const uint64_t wanted =
      scheduler.samples - std::min(scheduler.samples, scheduler.switching_samples);
  outcome.measured = absl::StrCat(scheduler.command, " (ops ", scheduler.ops, ") in ",
                                  scheduler.attached_samples, " of ", wanted, " samples");
  if (scheduler.switches > 0) {
    absl::StrAppend(&outcome.measured, ", switches: ", scheduler.switches);
  }
  if (scheduler.restarts > 0) {
    absl::StrAppend(&outcome.measured, ", restarts by CPU hotplug: ", scheduler.restarts);
  }
  if (!scheduler.attached_last) absl::StrAppend(&outcome.measured, ", not in the last one");
  outcome.ok = wanted > 0 && scheduler.attached_samples == wanted && scheduler.attached_last;
  return outcome;
}

std::vector<std::string> SchedulerFailures() {
  std::vector<std::string> words = {kAttached, kLoad};
  for (const auto& entry : EnumNames(SchedulerEndKind{})) words.push_back(entry.name);
  return words;
}

bool IsSchedulerFailure(absl::string_view word) {
  const std::vector<std::string> words = SchedulerFailures();
  return std::find(words.begin(), words.end(), word) != words.end();
}

bool IsStatedFailure(absl::string_view word, const Outcome& outcome) {
  return !outcome.ok && (word == outcome.name || word == outcome.reason);
}

bool IsOfScheduler(const Outcome& outcome) {
  return outcome.name == kAttached || outcome.name == kLoad;
}

}  // namespace stasis
