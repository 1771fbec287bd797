#include "guest/scenario/scenario_text.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "guest/scenario/expect_table.h"
#include "guest/scenario/judge.h"
#include "guest/scenario/step_state.h"
#include "guest/scenario/step_table.h"
#include "guest/scenario/work_table.h"

namespace stasis {
namespace {

std::string Quoted(absl::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      absl::StrAppend(&quoted, "\\", std::string(1, c));
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      absl::StrAppendFormat(&quoted, "\\u%04x", static_cast<unsigned char>(c));
    } else {
      quoted.push_back(c);
    }
  }
  return quoted + "\"";
}

std::string Quoted(absl::Duration duration) {
  return Quoted(duration == absl::ZeroDuration() ? "0s" : absl::FormatDuration(duration));
}

std::string List(const std::vector<std::string>& texts) {
  return absl::StrCat("[",
                      absl::StrJoin(texts, ", ",
                                    [](std::string* out, const std::string& text) {
                                      absl::StrAppend(out, Quoted(text));
                                    }),
                      "]");
}

std::string Size(uint64_t bytes) {
  // A size needs its unit: 1K at least.
  return Quoted(ParameterText(ParameterUnit::kSize, static_cast<int64_t>(bytes)));
}

std::string ParameterValue(const WorkParameter& parameter, const WorkSpec& work) {
  if (auto* time = std::get_if<absl::Duration WorkSpec::*>(&parameter.member)) {
    return Quoted(work.*(*time));
  }
  if (auto* number = std::get_if<uint64_t WorkSpec::*>(&parameter.member)) {
    return parameter.unit == ParameterUnit::kSize ? Size(work.*(*number))
                                                  : absl::StrCat(work.*(*number));
  }
  if (auto* integer = std::get_if<int64_t WorkSpec::*>(&parameter.member)) {
    return absl::StrCat(work.*(*integer));
  }
  if (auto* text = std::get_if<std::string WorkSpec::*>(&parameter.member)) {
    return Quoted(work.*(*text));
  }
  if (auto* texts = std::get_if<std::vector<std::string> WorkSpec::*>(&parameter.member)) {
    return List(work.*(*texts));
  }
  std::vector<std::string> words;
  for (SchedPolicy policy :
       work.*std::get<std::vector<SchedPolicy> WorkSpec::*>(parameter.member)) {
    words.push_back(fields::NameOf(policy));
  }
  return List(words);
}

std::string WorkText(const WorkSpec& work) {
  const WorkKindInfo& info = InfoOf(work.kind);
  std::string text = absl::StrCat("{ kind = ", Quoted(info.name));
  if (!work.name.empty()) absl::StrAppend(&text, ", name = ", Quoted(work.name));
  if (!work.at_start) absl::StrAppend(&text, ", at_start = false");
  absl::StrAppend(&text, ", workers = ", work.workers);
  // What a kind sets itself, or a policy does not heed, may not be written.
  const bool real_time =
      work.policy == SchedPolicy::kFifo || work.policy == SchedPolicy::kRoundRobin;
  if (work.kind != WorkKind::kPolicyChurn) {
    absl::StrAppend(&text, ", policy = ", Quoted(fields::NameOf(work.policy)));
  }
  if (!real_time && work.kind != WorkKind::kNiceSweep) {
    absl::StrAppend(&text, ", nice = ", work.nice);
  }
  if (work.rt_priority != 0) absl::StrAppend(&text, ", rt_priority = ", work.rt_priority);
  if (!work.cpus.empty()) absl::StrAppend(&text, ", cpus = ", Quoted(work.cpus));
  for (const WorkParameter& parameter : info.parameters) {
    absl::StrAppend(&text, ", ", parameter.name, " = ", ParameterValue(parameter, work));
  }
  return text + " }";
}

std::string ActionToml(const Action& action) {
  const ActionInfo& info = InfoOf(action.kind);
  std::string text = absl::StrCat("{ ", info.name, " = ");
  switch (info.target) {
    case ActionTarget::kCpus:
      absl::StrAppend(&text, Quoted(action.cpus));
      break;
    case ActionTarget::kCommand:
      absl::StrAppend(&text, List(action.command));
      break;
    case ActionTarget::kTrue:
      absl::StrAppend(&text, "true");
      break;
    default:
      absl::StrAppend(&text, Quoted(action.target));
  }
  switch (info.to) {
    case ActionOperand::kNone:
      break;
    case ActionOperand::kCpus:
      absl::StrAppend(&text, ", to = ", Quoted(action.cpus));
      break;
    case ActionOperand::kWeight:
      absl::StrAppend(&text, ", to = ", action.weight);
      break;
    case ActionOperand::kMax:
      absl::StrAppend(&text, ", to = ", Quoted(CpuMaxText(action.max)));
      break;
    case ActionOperand::kMemory:
      absl::StrAppend(&text, ", to = ",
                      action.memory_max_bytes.has_value() ? Size(*action.memory_max_bytes)
                                                          : "\"max\"");
      break;
    case ActionOperand::kCgroup:
      absl::StrAppend(&text, ", to = ", Quoted(action.to));
      break;
  }
  return text + " }";
}

void AppendMachine(const MachineSpec& machine, std::string* text) {
  absl::StrAppend(text, "\n[machine]\n");
  if (machine.topology) absl::StrAppend(text, "topology = ", Quoted(*machine.topology), "\n");
  if (!machine.distances.empty()) {
    std::vector<std::string> rows;
    for (const std::vector<uint32_t>& row : machine.distances) {
      rows.push_back(absl::StrCat("[", absl::StrJoin(row, ", "), "]"));
    }
    absl::StrAppend(text, "distances = [", absl::StrJoin(rows, ", "), "]\n");
  }
  if (machine.memory_bytes) absl::StrAppend(text, "memory = ", Size(*machine.memory_bytes), "\n");
  absl::StrAppend(text, "kaslr = ", machine.kaslr ? "true" : "false", "\n");
  absl::StrAppend(text, "cmdline = ", Quoted(machine.cmdline), "\n");
  absl::StrAppend(text, "requires = ", List(machine.required_config), "\n");
  absl::StrAppend(text, "min_cpus = ", machine.min_cpus, "\n");
  absl::StrAppend(text, "needs_smt = ", machine.needs_smt ? "true" : "false", "\n");
  absl::StrAppend(text, "disks = ", List(machine.disks), "\n");
}

void AppendScheduler(const SchedulerSpec& scheduler, std::string* text) {
  absl::StrAppend(text, "\n[scheduler]\n");
  absl::StrAppend(text, scheduler.path.empty() ? "name = " : "path = ",
                  Quoted(scheduler.path.empty() ? scheduler.name : scheduler.path), "\n",
                  "args = ", List(scheduler.args), "\n");
  if (!scheduler.ops.empty()) absl::StrAppend(text, "ops = ", Quoted(scheduler.ops), "\n");
  if (scheduler.attach_limit > absl::ZeroDuration()) {
    absl::StrAppend(text, "attach_limit = ", Quoted(scheduler.attach_limit), "\n");
  }
}

void AppendCgroup(const CgroupSpec& cgroup, const StepState* state, std::string* text) {
  absl::StrAppend(text, "\n[[cgroup]]\nname = ", Quoted(cgroup.name), "\n");
  if (!cgroup.cpus.empty()) absl::StrAppend(text, "cpus = ", Quoted(cgroup.cpus));
  if (state != nullptr) {
    absl::StrAppend(text, cgroup.cpus.empty() ? "# its parent's CPUs: " : "  # CPUs ",
                    state->CpusOf(cgroup.name).ToString());
  }
  if (!cgroup.cpus.empty() || state != nullptr) absl::StrAppend(text, "\n");
  absl::StrAppend(text, "weight = ", cgroup.weight.value_or(100), "\n");
  if (cgroup.max) absl::StrAppend(text, "max = ", Quoted(CpuMaxText(cgroup.max)), "\n");
  if (cgroup.memory_max_bytes) {
    absl::StrAppend(text, "memory_max = ", Size(*cgroup.memory_max_bytes), "\n");
  }
  absl::StrAppend(text, "at_start = ", cgroup.at_start ? "true" : "false", "\n");
  if (cgroup.work.empty()) return;
  absl::StrAppend(text, "work = [\n");
  for (const WorkSpec& work : cgroup.work) absl::StrAppend(text, "  ", WorkText(work), ",\n");
  absl::StrAppend(text, "]\n");
}

std::string Number(double number) {
  std::string text = absl::StrFormat("%.12g", number);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

std::string Value(const std::optional<absl::Duration>& value) { return Quoted(*value); }
std::string Value(const std::optional<double>& value) { return Number(*value); }
std::string Value(const std::optional<uint64_t>& value) { return absl::StrCat(*value); }
std::string Value(bool value) { return value ? "true" : "false"; }

std::string Entry(const LatencyExpect& entry) {
  std::string text = absl::StrCat("{ of = ", Quoted(entry.of));
  for (const auto& [name, limit] :
       {std::pair("p50", &entry.p50), {"p90", &entry.p90}, {"p99", &entry.p99},
        {"p999", &entry.p999}, {"longest", &entry.longest}}) {
    if (limit->has_value()) absl::StrAppend(&text, ", ", name, " = ", Quoted(**limit));
  }
  return text + " }";
}

std::string Entry(const RatioExpect& entry) {
  std::string text = absl::StrCat("{ of = ", Quoted(entry.of), ", to = ", Quoted(entry.to),
                                  ", by = ", Quoted(fields::NameOf(entry.by)),
                                  ", is = ", Number(entry.is),
                                  ", tolerance = ", Number(entry.tolerance));
  if (entry.phase) absl::StrAppend(&text, ", phase = ", *entry.phase);
  return text + " }";
}

std::string Entry(const ScxEventExpect& entry) {
  return absl::StrCat("{ name = ", Quoted(entry.name), ", max = ", entry.max, " }");
}

template <typename T>
std::string Value(const std::vector<T>& entries) {
  return absl::StrCat("[",
                      absl::StrJoin(entries, ", ",
                                    [](std::string* out, const T& entry) {
                                      absl::StrAppend(out, Entry(entry));
                                    }),
                      "]");
}

void AppendExpect(const ExpectSpec& expect, std::string* text) {
  absl::StrAppend(text, "\n[expect]\n");
  if (!expect.max_gap) {
    absl::StrAppend(text, "# max_gap by default: ", absl::FormatDuration(DefaultLimits().max_gap),
                    ", scaled on an emulated host\n");
  }
  for (const ExpectationInfo& info : Expectations()) {
    if (!IsSet(expect, info)) continue;
    std::visit(
        [&](auto member) {
          absl::StrAppend(text, info.name, " = ", Value(expect.*member), "\n");
        },
        info.member);
  }
  if (expect.should_fail) {
    absl::StrAppend(text, "should_fail = ", Quoted(*expect.should_fail), "\n");
  }
}

}  // namespace

std::string ScenarioText(const Scenario& scenario, const CpuGroups* groups) {
  std::string text = absl::StrCat("# ", scenario.name, "\nsummary = ", Quoted(scenario.summary),
                                  "\nduration = ", Quoted(scenario.duration), "\n");
  AppendMachine(scenario.machine, &text);
  if (scenario.scheduler) AppendScheduler(*scenario.scheduler, &text);
  StepState state(scenario, groups);
  for (const CgroupSpec& cgroup : scenario.cgroups) {
    AppendCgroup(cgroup, groups == nullptr ? nullptr : &state, &text);
  }
  for (const StepSpec& step : scenario.steps) {
    absl::StrAppend(&text, "\n[[step]]\nat = ", Quoted(step.at), "\ndo = [\n");
    for (const Action& action : step.actions) {
      absl::StrAppend(&text, "  ", ActionToml(action), ",");
      if (groups != nullptr && !action.cpus.empty()) {
        absl::StrAppend(&text, "  # CPUs ", state.Resolved(action.cpus).ToString());
      }
      absl::StrAppend(&text, "\n");
    }
    absl::StrAppend(&text, "]\n");
  }
  AppendExpect(scenario.expect, &text);
  return text;
}

}  // namespace stasis
