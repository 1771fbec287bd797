#include "guest/scenario/step_parser.h"

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "guest/scenario/cgroup_parser.h"
#include "guest/scenario/step_state.h"
#include "guest/scenario/step_table.h"

namespace stasis {
namespace {

constexpr size_t kMostWords = 64;  // of a command

// A path without a leading slash counts from the folder of the scenario, a name is none.
std::string FromFolderOf(absl::string_view file, absl::string_view path) {
  const size_t slash = file.rfind('/');
  if (!absl::StrContains(path, "/") || absl::StartsWith(path, "/") ||
      slash == absl::string_view::npos) {
    return std::string(path);
  }
  return absl::StrCat(file.substr(0, slash + 1), path);
}

std::vector<std::string> CgroupNames(const Scenario& scenario) {
  std::vector<std::string> names;
  for (const CgroupSpec& cgroup : scenario.cgroups) names.push_back(cgroup.name);
  return names;
}

std::vector<std::string> WorkNames(const Scenario& scenario) {
  std::vector<std::string> names;
  for (const CgroupSpec& cgroup : scenario.cgroups) {
    for (const WorkSpec& work : cgroup.work) {
      if (!work.name.empty()) names.push_back(work.name);
    }
  }
  return names;
}

// Reads all steps of a scenario.
class StepReader {
 public:
  StepReader(TomlReader* reader, const CpuGroups* groups, Scenario* scenario)
      : reader_(*reader), scenario_(*scenario), state_(*scenario, groups) {}

  void Read(const toml::node& node) {
    reader_.ReadEach(node, "step", [this](const toml::node& item) { ReadStep(item); });
    if (scenario_.steps.size() > kMaxSteps) {
      reader_.Fail(node, absl::StrCat(scenario_.steps.size(), " steps; at most ", kMaxSteps));
    }
  }

 private:
  void ReadStep(const toml::node& node);
  bool ReadTime(const toml::node& node, absl::Duration* at);
  void CheckTime(const toml::node& node, absl::Duration at);
  void ReadAction(const toml::node& node, StepSpec* step);
  const ActionInfo* KindOf(const toml::table& table);
  bool ReadTarget(const ActionInfo& info, const toml::node& value, Action* action);
  bool ReadOperand(const ActionInfo& info, const toml::node& value, Action* action);
  bool ReadProgram(const ActionInfo& info, const toml::node& value, Action* action);

  TomlReader& reader_;
  Scenario& scenario_;
  StepState state_;
  uint32_t last_line_ = 0;  // of the step before
  bool broken_ = false;     // an action was refused: what follows may be its consequence
};

bool StepReader::ReadTime(const toml::node& node, absl::Duration* at) {
  std::string text;
  if (node.is_string() && absl::EndsWith(node.as_string()->get(), "%")) {
    text = node.as_string()->get();
    text.pop_back();
    double percent;
    if (!absl::SimpleAtod(text, &percent) || !(percent > 0 && percent < 100)) {
      reader_.Fail(node, absl::StrCat("'at': '", text, "%'; expected more than 0% and less than ",
                                      "100% of the duration"));
      return false;
    }
    *at = scenario_.duration * (percent / 100);
    return true;
  }
  if (!reader_.Get(node, "at", at)) return false;
  if (*at > absl::ZeroDuration() &&
      (*at < scenario_.duration || scenario_.duration == absl::ZeroDuration())) {
    return true;
  }
  reader_.Fail(node, absl::StrCat("'at': ", absl::FormatDuration(*at),
                                  " is not within the run; expected more than 0s and less than ",
                                  absl::FormatDuration(scenario_.duration), ", the duration"));
  return false;
}

void StepReader::CheckTime(const toml::node& node, absl::Duration at) {
  if (scenario_.steps.empty()) return;
  const absl::Duration before = scenario_.steps.back().at;
  if (at == before) {
    reader_.Fail(node, absl::StrCat("'at': ", absl::FormatDuration(at),
                                    " is the time of the step at line ", last_line_,
                                    " as well; put the actions of both into one 'do'"));
  } else if (at < before) {
    reader_.Fail(node, absl::StrCat("'at': ", absl::FormatDuration(at), " comes before ",
                                    absl::FormatDuration(before), " of the step at line ",
                                    last_line_, "; expected steps in the order of their times"));
  }
}

void StepReader::ReadStep(const toml::node& node) {
  StepSpec step;
  const toml::node* at = nullptr;
  TomlReader::Keys keys;
  keys.known["at"] = [&](const toml::node& value) {
    if (ReadTime(value, &step.at)) at = &value;
  };
  keys.known["do"] = [&](const toml::node& value) {
    reader_.ReadEach(value, "do", [&](const toml::node& item) { ReadAction(item, &step); });
    if (value.is_array() && value.as_array()->empty()) {
      reader_.Fail(value, "'do': empty; expected what the step does, such as "
                          "[{ set_cpus = \"left\", to = \"half:1\" }]");
    }
    if (step.actions.size() > kMaxActionsPerStep) {
      reader_.Fail(value, absl::StrCat("'do': at most ", kMaxActionsPerStep, " actions"));
    }
  };
  reader_.ReadTable(node, "[[step]]", keys);
  const toml::table* table = node.as_table();
  if (table == nullptr) return;
  if (!table->contains("at")) {
    reader_.Fail(node, "[[step]] without 'at'; expected a time such as at = \"50%\" or \"3s\"");
  }
  if (!table->contains("do")) reader_.Fail(node, "[[step]] without 'do'");
  if (at == nullptr) return;
  CheckTime(*at, step.at);
  last_line_ = node.source().begin.line;
  scenario_.steps.push_back(std::move(step));
}

// The action of a table is the key of it that names one.
const ActionInfo* StepReader::KindOf(const toml::table& table) {
  const ActionInfo* found = nullptr;
  std::vector<std::string> words;
  for (const ActionInfo& info : Actions()) {
    words.push_back(info.name);
    const toml::node* value = table.get(info.name);
    if (value == nullptr) continue;
    if (found != nullptr) {
      reader_.Fail(*value, absl::StrCat("'", info.name, "' and '", found->name,
                                        "' in one action; expected each in a table of its own"));
      return nullptr;
    }
    found = &info;
  }
  if (found != nullptr) return found;
  for (auto&& [key, value] : table) {
    const std::string word(key.str());
    if (word == "to") continue;
    reader_.Fail(key.source(),
                 absl::StrCat("unknown action '", word, "'", NearMatchHint(word, words),
                              "; expected ", absl::StrJoin(words, ", ")));
    return nullptr;
  }
  reader_.Fail(table, absl::StrCat("an action without its name; expected ",
                                   absl::StrJoin(words, ", ")));
  return nullptr;
}

bool StepReader::ReadProgram(const ActionInfo& info, const toml::node& value, Action* action) {
  const size_t errors = reader_.errors();
  reader_.ReadEach(value, info.name, [&](const toml::node& item) {
    reader_.Get(item, info.name, &action->command.emplace_back());
  });
  if (reader_.errors() != errors) return false;
  const std::vector<std::string>& words = action->command;
  const bool path = action->kind == ActionKind::kRun;
  if (words.empty() || words.size() > kMostWords || words[0].empty() ||
      (path && words[0][0] != '/')) {
    reader_.Fail(value, absl::StrCat("'", info.name, "': expected 1 to ", kMostWords,
                                     " words, the first one ",
                                     path ? "a path from the root" : "a scheduler", ", such as ",
                                     info.example));
    return false;
  }
  if (!path) {
    SchedulerSpec& scheduler = action->scheduler.emplace();
    (absl::StrContains(words[0], "/") ? scheduler.path : scheduler.name) =
        FromFolderOf(reader_.filename(), words[0]);
    scheduler.args.assign(words.begin() + 1, words.end());
  }
  return true;
}

bool StepReader::ReadTarget(const ActionInfo& info, const toml::node& value, Action* action) {
  switch (info.target) {
    case ActionTarget::kCgroup:
      return reader_.GetOneOf(value, info.name, "cgroup", CgroupNames(scenario_), &action->target);
    case ActionTarget::kWork:
      return reader_.GetOneOf(value, info.name, "work with the name", WorkNames(scenario_),
                              &action->target);
    case ActionTarget::kCpus:
      return reader_.GetCpus(value, info.name, &action->cpus);
    case ActionTarget::kCommand:
      return ReadProgram(info, value, action);
    case ActionTarget::kText:
      return reader_.Get(value, info.name, &action->target);
    case ActionTarget::kTrue: {
      bool yes = false;
      if (!reader_.Get(value, info.name, &yes)) return false;
      if (!yes) reader_.Fail(value, absl::StrCat("'", info.name, "': expected true"));
      return yes;
    }
  }
  return false;
}

bool StepReader::ReadOperand(const ActionInfo& info, const toml::node& value, Action* action) {
  int64_t number;
  std::string text;
  uint64_t bytes;
  switch (info.to) {
    case ActionOperand::kNone:
      reader_.Fail(value, absl::StrCat("'to' does not belong to ", info.name, "; expected ",
                                       info.example));
      return false;
    case ActionOperand::kCpus:
      return reader_.GetCpus(value, "to", &action->cpus);
    case ActionOperand::kWeight:
      if (!reader_.GetNumber(value, "to", 1, 10000, &number)) return false;
      action->weight = static_cast<uint32_t>(number);
      return true;
    case ActionOperand::kMax:
      return ReadCpuMax(&reader_, value, "to", /*or_none=*/true, &action->max);
    case ActionOperand::kMemory:
      if (value.is_string() && value.as_string()->get() == "max") return true;
      if (!reader_.GetSize(value, "to", "64M", &bytes)) return false;
      action->memory_max_bytes = bytes;
      return true;
    case ActionOperand::kCgroup:
      return reader_.GetOneOf(value, "to", "cgroup", CgroupNames(scenario_), &action->to);
  }
  return false;
}

void StepReader::ReadAction(const toml::node& node, StepSpec* step) {
  const toml::table* table = node.as_table();
  if (table == nullptr) {
    return reader_.Fail(node, absl::StrCat("'do': expected a table, found ", TomlTypeName(node)));
  }
  const size_t errors = reader_.errors();
  const ActionInfo* info = KindOf(*table);
  if (info != nullptr) {
    Action action{.kind = info->kind};
    TomlReader::Keys keys;
    keys.known[info->name] = [&](const toml::node& value) { ReadTarget(*info, value, &action); };
    keys.known["to"] = [&](const toml::node& value) { ReadOperand(*info, value, &action); };
    reader_.ReadTable(*table, info->name, keys);
    if (info->to != ActionOperand::kNone && !table->contains("to")) {
      reader_.Fail(node, absl::StrCat(info->name, " without 'to'; expected ", info->example));
    }
    step->actions.push_back(std::move(action));
  }
  if (info != nullptr && !scenario_.scheduler.has_value() &&
      (info->kind == ActionKind::kSwitchScheduler || info->kind == ActionKind::kRestartScheduler)) {
    reader_.Fail(node, absl::StrCat(info->name, ": the scenario has no scheduler; expected a "
                                    "[scheduler] that it starts with"));
  }
  if (reader_.errors() != errors) broken_ = true;
  if (broken_) return;
  absl::Status status = state_.Apply(step->actions.back());
  if (status.ok()) return;
  broken_ = true;
  reader_.Fail(node, absl::StrCat(info->name, ": ", status.message()));
}

}  // namespace

void ReadSteps(TomlReader* reader, const toml::node& node, const CpuGroups* groups,
               Scenario* scenario) {
  StepReader(reader, groups, scenario).Read(node);
}

bool HasQuietSecond(const Scenario& scenario) {
  if (scenario.steps.empty()) return true;
  absl::Duration from;
  for (const StepSpec& step : scenario.steps) {
    if (step.at - from >= absl::Seconds(1)) return true;
    from = step.at + kStepTransition;
  }
  return scenario.duration - from >= absl::Seconds(1);
}

}  // namespace stasis
