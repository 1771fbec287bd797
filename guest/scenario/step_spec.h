// StepSpec: what a scenario changes while it runs, and when.
#ifndef STASIS_GUEST_SCENARIO_STEP_SPEC_H_
#define STASIS_GUEST_SCENARIO_STEP_SPEC_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "guest/json/fields.h"
#include "guest/scenario/cgroup_spec.h"
#include "guest/scenario/scheduler_spec.h"

namespace stasis {

// Bounds, so that the figures of all phases fit into one message (wire/frame.h).
inline constexpr size_t kMaxSteps = 200;
inline constexpr size_t kMaxActionsPerStep = 64;
inline constexpr size_t kMaxPhaseFigures = 8192;  // (steps + 1) * workers

// After a step, the time that the kernel may take until everybody runs where it should: what
// workers do in it is judged by no expectation that goes by phases.
inline constexpr absl::Duration kStepTransition = absl::Milliseconds(200);

// What each one does, and what it is about: the table in step_table.cc.
enum class ActionKind {
  kSetCpus,
  kSetWeight,
  kSetMax,
  kSetMemoryMax,
  kAddCgroup,
  kRemoveCgroup,
  kFreezeCgroup,
  kThawCgroup,
  kStartWork,
  kStopWork,
  kMoveWork,
  kUnplugCpus,
  kPlugCpus,
  kRun,
  kSnapshot,
  kSwitchScheduler,
  kRestartScheduler,
};
absl::Span<const fields::EnumName<ActionKind>> EnumNames(ActionKind);

// A field that does not belong to the kind is empty.
struct Action {
  ActionKind kind = ActionKind::kSetCpus;
  std::string target;                        // name of a cgroup or of work; of a snapshot, its note
  std::string to;                            // move_work: the cgroup
  std::string cpus;                          // ResolveCpus expression
  uint32_t weight = 0;                       // set_weight
  std::optional<CpuMax> max;                 // set_max; absent: no limit
  std::optional<uint64_t> memory_max_bytes;  // set_memory_max; absent: no limit
  std::vector<std::string> command;          // run, switch_scheduler: program and arguments
  std::optional<SchedulerSpec> scheduler;    // switch_scheduler: what that means

  template <typename V, typename Self>
  static void VisitFields(V& v, Self& self) {
    v("kind", self.kind);
    v.Optional("target", self.target);
    v.Optional("to", self.to);
    v.Optional("cpus", self.cpus);
    v.Optional("weight", self.weight);
    v("max", self.max);
    v("memory_max_bytes", self.memory_max_bytes);
    v.Optional("command", self.command);
    v("scheduler", self.scheduler);
  }
};

// All actions of a step are carried out one after the other, at once.
struct StepSpec {
  absl::Duration at;  // since the start of the run
  std::vector<Action> actions;

  template <typename V, typename Self>
  static void VisitFields(V& v, Self& self) {
    v("at_ns", self.at);
    v("actions", self.actions);
  }
};

// "20ms/100ms"; "max" for no limit.
std::string CpuMaxText(const std::optional<CpuMax>& max);
// "set_cpus left to half:1": as a person reads it.
std::string ActionText(const Action& action);
// Of all actions, separated by "; ".
std::string StepText(const StepSpec& step);

}  // namespace stasis

#endif  // STASIS_GUEST_SCENARIO_STEP_SPEC_H_
