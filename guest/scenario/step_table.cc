#include "guest/scenario/step_table.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "guest/scenario/work_table.h"

namespace stasis {
namespace {

using Target = ActionTarget;
using Operand = ActionOperand;

const ActionInfo kActions[] = {
    {ActionKind::kSetCpus, "set_cpus", Target::kCgroup, Operand::kCpus,
     "changes the CPUs of a cgroup", "{ set_cpus = \"left\", to = \"half:1\" }"},
    {ActionKind::kSetWeight, "set_weight", Target::kCgroup, Operand::kWeight,
     "changes cpu.weight of a cgroup", "{ set_weight = \"left\", to = 200 }"},
    {ActionKind::kSetMax, "set_max", Target::kCgroup, Operand::kMax,
     "changes cpu.max of a cgroup; \"max\" is no limit",
     "{ set_max = \"left\", to = \"20ms/100ms\" }"},
    {ActionKind::kSetMemoryMax, "set_memory_max", Target::kCgroup, Operand::kMemory,
     "changes memory.max of a cgroup; \"max\" is no limit",
     "{ set_memory_max = \"left\", to = \"64M\" }"},
    {ActionKind::kAddCgroup, "add_cgroup", Target::kCgroup, Operand::kNone,
     "makes a cgroup that is not there (at_start = false, or removed before), and starts its work",
     "{ add_cgroup = \"guest\" }"},
    {ActionKind::kRemoveCgroup, "remove_cgroup", Target::kCgroup, Operand::kNone,
     "kills the work in a cgroup and removes it", "{ remove_cgroup = \"guest\" }"},
    {ActionKind::kFreezeCgroup, "freeze_cgroup", Target::kCgroup, Operand::kNone,
     "freezes a cgroup and all below it; frozen time is no gap", "{ freeze_cgroup = \"left\" }"},
    {ActionKind::kThawCgroup, "thaw_cgroup", Target::kCgroup, Operand::kNone, "lets it go on",
     "{ thaw_cgroup = \"left\" }"},
    {ActionKind::kStartWork, "start_work", Target::kWork, Operand::kNone,
     "starts work that does not run (at_start = false, or stopped before), in its own cgroup",
     "{ start_work = \"hogs\" }"},
    {ActionKind::kStopWork, "stop_work", Target::kWork, Operand::kNone, "kills the workers",
     "{ stop_work = \"hogs\" }"},
    {ActionKind::kMoveWork, "move_work", Target::kWork, Operand::kCgroup,
     "moves the workers to another cgroup", "{ move_work = \"hogs\", to = \"right\" }"},
    {ActionKind::kUnplugCpus, "unplug_cpus", Target::kCpus, Operand::kNone,
     "takes CPUs off line; CPU 0 stays", "{ unplug_cpus = \"1\" }"},
    {ActionKind::kPlugCpus, "plug_cpus", Target::kCpus, Operand::kNone, "brings them back",
     "{ plug_cpus = \"1\" }"},
    {ActionKind::kRun, "run", Target::kCommand, Operand::kNone,
     "runs a program (a path in the guest; one of the host is put there) beside everything else; "
     "an exit code other than 0 ends the scenario",
     "{ run = [\"/bin/true\"] }"},
    {ActionKind::kSnapshot, "snapshot", Target::kText, Operand::kNone,
     "has the host dump the machine, which goes on afterwards", "{ snapshot = \"half-way\" }"},
    {ActionKind::kSwitchScheduler, "switch_scheduler", Target::kCommand, Operand::kNone,
     "ends the scheduler that runs, if any does, and starts this one (program and arguments)",
     "{ switch_scheduler = [\"scx_simple\", \"-f\"] }"},
    {ActionKind::kRestartScheduler, "restart_scheduler", Target::kTrue, Operand::kNone,
     "ends the scheduler that runs and starts it again", "{ restart_scheduler = true }"},
};

}  // namespace

absl::Span<const ActionInfo> Actions() { return kActions; }

const ActionInfo& InfoOf(ActionKind kind) { return kActions[static_cast<size_t>(kind)]; }

absl::Span<const fields::EnumName<ActionKind>> EnumNames(ActionKind) {
  static const auto* names = [] {
    auto* made = new std::vector<fields::EnumName<ActionKind>>;
    for (const ActionInfo& info : kActions) made->push_back({info.kind, info.name});
    return made;
  }();
  return *names;
}

std::string CpuMaxText(const std::optional<CpuMax>& max) {
  if (!max.has_value()) return "max";
  return absl::StrCat(absl::FormatDuration(max->quota), "/", absl::FormatDuration(max->period));
}

std::string ActionText(const Action& action) {
  const ActionInfo& info = InfoOf(action.kind);
  std::string text = info.name;
  switch (info.target) {
    case Target::kCpus:
      absl::StrAppend(&text, " ", action.cpus);
      break;
    case Target::kCommand:
      absl::StrAppend(&text, " ", absl::StrJoin(action.command, " "));
      break;
    case Target::kTrue:
      break;
    default:
      absl::StrAppend(&text, " ", action.target);
  }
  switch (info.to) {
    case Operand::kNone:
      return text;
    case Operand::kCpus:
      return absl::StrCat(text, " to ", action.cpus);
    case Operand::kWeight:
      return absl::StrCat(text, " to ", action.weight);
    case Operand::kMax:
      return absl::StrCat(text, " to ", CpuMaxText(action.max));
    case Operand::kMemory:
      return absl::StrCat(text, " to ",
                          action.memory_max_bytes.has_value()
                              ? ParameterText(ParameterUnit::kSize,
                                              static_cast<int64_t>(*action.memory_max_bytes))
                              : "max");
    case Operand::kCgroup:
      return absl::StrCat(text, " to ", action.to);
  }
  return text;
}

std::string StepText(const StepSpec& step) {
  return absl::StrJoin(step.actions, "; ", [](std::string* out, const Action& action) {
    absl::StrAppend(out, ActionText(action));
  });
}

}  // namespace stasis
