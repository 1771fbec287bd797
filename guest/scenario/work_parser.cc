#include "guest/scenario/work_parser.h"

#include <map>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "guest/scenario/names.h"
#include "guest/scenario/work_table.h"

namespace stasis {
namespace {

constexpr size_t kMostWords = 64;  // of a command

bool IsRealTime(SchedPolicy policy) {
  return policy == SchedPolicy::kFifo || policy == SchedPolicy::kRoundRobin;
}

// Reads one work group. Lives for one ReadWork.
class WorkReader {
 public:
  WorkReader(TomlReader* reader, const toml::table& table, WorkSpec* work)
      : reader_(*reader), table_(table), work_(*work) {}

  void Read();

 private:
  bool Given(const char* key) const { return table_.contains(key); }
  void ReadParameter(const WorkParameter& parameter, const toml::node& value);
  bool ReadSize(const WorkParameter& parameter, const toml::node& value, int64_t* bytes);
  void ReadTexts(const WorkParameter& parameter, const toml::node& value,
                 std::vector<std::string>* texts);
  void ReadPolicies(const WorkParameter& parameter, const toml::node& value,
                    std::vector<SchedPolicy>* policies);
  void CheckRange(const WorkParameter& parameter, const toml::node& value, int64_t number);
  void CheckWorkers();
  void CheckPolicy();
  void CheckKind();
  // The value of a key, or the whole table where the default is at fault.
  const toml::node& PlaceOf(const char* key) const {
    const toml::node* node = table_.get(key);
    return node == nullptr ? table_ : *node;
  }

  TomlReader& reader_;
  const toml::table& table_;
  WorkSpec& work_;
};

std::string KindsWith(const std::string& parameter) {
  std::vector<std::string> kinds;
  for (const WorkKindInfo& info : WorkKinds()) {
    for (const WorkParameter& own : info.parameters) {
      if (parameter == own.name) kinds.push_back(info.name);
    }
  }
  return absl::StrJoin(kinds, ", ");
}

void WorkReader::Read() {
  const toml::node* kind = table_.get("kind");
  if (kind == nullptr) return reader_.Fail(table_, "work without 'kind'");
  if (!reader_.GetWord(*kind, "kind", &work_.kind)) return;
  work_ = DefaultWork(work_.kind);
  const WorkKindInfo& info = InfoOf(work_.kind);
  const size_t errors = reader_.errors();
  TomlReader::Keys keys = CommonWorkKeys(&reader_, &work_);
  for (const WorkKindInfo& other : WorkKinds()) {
    for (const WorkParameter& foreign : other.parameters) {
      const std::string name = foreign.name;
      keys.known[name] = [this, name, &info](const toml::node& value) {
        reader_.Fail(value, absl::StrCat("'", name, "' belongs to work of kind ", KindsWith(name),
                                         ", not ", info.name));
      };
    }
  }
  for (const WorkParameter& own : info.parameters) {
    keys.known[own.name] = [this, &own](const toml::node& value) { ReadParameter(own, value); };
  }
  reader_.ReadTable(table_, "work", keys);
  if (reader_.errors() != errors) return;
  for (const WorkParameter& own : info.parameters) {
    if (!own.required || Given(own.name)) continue;
    reader_.Fail(table_, absl::StrCat("work of kind ", info.name, " without '", own.name, "' (",
                                      own.what, ")"));
  }
  CheckWorkers();
  CheckPolicy();
  CheckKind();
}

void WorkReader::CheckRange(const WorkParameter& parameter, const toml::node& value,
                            int64_t number) {
  if (number >= parameter.low && number <= parameter.high) return;
  reader_.Fail(
      value,
      absl::StrCat("'", parameter.name, "': ", ParameterText(parameter.unit, number),
                   " is out of range; expected ", ParameterText(parameter.unit, parameter.low),
                   " to ", ParameterText(parameter.unit, parameter.high)));
}

bool WorkReader::ReadSize(const WorkParameter& parameter, const toml::node& value, int64_t* bytes) {
  uint64_t size;
  if (!reader_.GetSize(value, parameter.name, ParameterText(parameter.unit, parameter.fallback),
                       &size)) {
    return false;
  }
  *bytes = static_cast<int64_t>(size);
  return true;
}

void WorkReader::ReadTexts(const WorkParameter& parameter, const toml::node& value,
                           std::vector<std::string>* texts) {
  texts->clear();
  const size_t errors = reader_.errors();
  reader_.ReadEach(value, parameter.name, [&](const toml::node& item) {
    reader_.Get(item, parameter.name, &texts->emplace_back());
  });
  if (reader_.errors() != errors) return;
  if (texts->empty() || texts->size() > kMostWords || !absl::StartsWith(texts->front(), "/")) {
    reader_.Fail(value, absl::StrCat("'", parameter.name, "': expected 1 to ", kMostWords,
                                     " words, the first one a path from the root, such as "
                                     "[\"/bin/sleep\", \"1\"]"));
  }
}

void WorkReader::ReadPolicies(const WorkParameter& parameter, const toml::node& value,
                              std::vector<SchedPolicy>* policies) {
  policies->clear();
  const size_t errors = reader_.errors();
  reader_.ReadEach(value, parameter.name, [&](const toml::node& item) {
    reader_.GetWord(item, parameter.name, &policies->emplace_back());
  });
  if (reader_.errors() == errors && (policies->empty() || policies->size() > kMostWords)) {
    reader_.Fail(value,
                 absl::StrCat("'", parameter.name, "': expected 1 to ", kMostWords, " policies"));
  }
}

void WorkReader::ReadParameter(const WorkParameter& parameter, const toml::node& value) {
  if (auto* time = std::get_if<absl::Duration WorkSpec::*>(&parameter.member)) {
    absl::Duration duration;
    if (!reader_.Get(value, parameter.name, &duration)) return;
    work_.*(*time) = duration;
    CheckRange(parameter, value, absl::ToInt64Nanoseconds(duration));
  } else if (auto* number = std::get_if<uint64_t WorkSpec::*>(&parameter.member)) {
    int64_t read;
    const bool good =
        parameter.unit == ParameterUnit::kSize
            ? ReadSize(parameter, value, &read)
            : reader_.GetNumber(value, parameter.name, parameter.low, parameter.high, &read);
    if (!good) return;
    work_.*(*number) = static_cast<uint64_t>(read);
    CheckRange(parameter, value, read);
  } else if (auto* integer = std::get_if<int64_t WorkSpec::*>(&parameter.member)) {
    reader_.GetNumber(value, parameter.name, parameter.low, parameter.high, &(work_.*(*integer)));
  } else if (auto* text = std::get_if<std::string WorkSpec::*>(&parameter.member)) {
    std::string& path = work_.*(*text);
    if (reader_.Get(value, parameter.name, &path) && !absl::StartsWith(path, "/")) {
      reader_.Fail(value, absl::StrCat("'", parameter.name,
                                       "': expected a path from the root, such as \"/dev/vda\""));
    }
  } else if (auto* texts = std::get_if<std::vector<std::string> WorkSpec::*>(&parameter.member)) {
    ReadTexts(parameter, value, &(work_.*(*texts)));
  } else {
    ReadPolicies(parameter, value,
                 &(work_.*std::get<std::vector<SchedPolicy> WorkSpec::*>(parameter.member)));
  }
}

void WorkReader::CheckWorkers() {
  const WorkKindInfo& info = InfoOf(work_.kind);
  const GroupShape& group = info.group;
  if (work_.workers < group.min_workers) {
    reader_.Fail(PlaceOf("workers"),
                 absl::StrCat("'workers': ", work_.workers, "; kind ", info.name,
                              " needs at least ", group.min_workers));
  }
  if (work_.workers % group.multiple_of != 0) {
    reader_.Fail(PlaceOf("workers"),
                 absl::StrCat("'workers': ", work_.workers, "; kind ", info.name,
                              " needs a multiple of ", group.multiple_of));
  }
}

void WorkReader::CheckPolicy() {
  const bool sets_nice = work_.kind == WorkKind::kNiceSweep;
  const bool sets_policy = work_.kind == WorkKind::kPolicyChurn;
  if (sets_policy && Given("policy")) {
    reader_.Fail(PlaceOf("policy"), "'policy': kind policy_churn sets it; use 'policies'");
  }
  if (sets_nice && Given("nice")) {
    reader_.Fail(PlaceOf("nice"), "'nice': kind nice_sweep sets it; use 'nice_from' and 'nice_to'");
  }
  const bool real_time = IsRealTime(work_.policy);
  if (real_time && sets_nice) {
    reader_.Fail(PlaceOf("policy"), "'policy': nice values have no effect on policy fifo and rr");
  }
  if (!real_time && !sets_policy && Given("rt_priority")) {
    reader_.Fail(PlaceOf("rt_priority"), "'rt_priority' needs policy = \"fifo\" or \"rr\"");
  }
  if (real_time && Given("nice")) {
    reader_.Fail(PlaceOf("nice"), "'nice' has no effect on policy fifo and rr; use 'rt_priority'");
  }
  if (real_time || sets_policy) {
    if (work_.rt_priority == 0) work_.rt_priority = 1;
  } else {
    work_.rt_priority = 0;
  }
}

void WorkReader::CheckKind() {
  if (work_.kind == WorkKind::kRtPeriodic && work_.run >= work_.period) {
    reader_.Fail(PlaceOf("run"),
                 absl::StrCat("'run': ", absl::FormatDuration(work_.run),
                              " is not less than 'period', ", absl::FormatDuration(work_.period)));
  }
  if (work_.kind == WorkKind::kIoSync && work_.span_bytes % work_.block_bytes != 0) {
    reader_.Fail(PlaceOf("span"), "'span': not a multiple of 'block'");
  }
}

}  // namespace

TomlReader::Keys CommonWorkKeys(TomlReader* reader, WorkSpec* work) {
  TomlReader::Keys keys;
  keys.Add("kind", "a word", "what the workers do; see below",
           [](const toml::node&) {});  // read before all others
  keys.Add("name", "a name", "for steps and expectations that speak of this work; the only one",
           [=](const toml::node& value) {
             if (reader->Get(value, "name", &work->name) && !IsPlainName(work->name)) {
               reader->Fail(value, absl::StrCat("'name': ", kPlainNameForm));
             }
           });
  keys.Add("at_start", "true or false", "false: a step starts it (start_work); true by default",
           [=](const toml::node& value) { reader->Get(value, "at_start", &work->at_start); });
  keys.Add("workers", "a number", "processes; the least that the kind needs by default",
           [=](const toml::node& value) {
             int64_t number;
             if (reader->GetNumber(value, "workers", 1, kMaxWorkers, &number)) {
               work->workers = static_cast<uint32_t>(number);
             }
           });
  keys.Add("nice", "a number", "-20 to 19; 0 by default", [=](const toml::node& value) {
    int64_t number;
    if (reader->GetNumber(value, "nice", -20, 19, &number)) work->nice = static_cast<int>(number);
  });
  keys.Add("policy", "a word", "normal, batch, idle, fifo or rr; normal but for rt_periodic",
           [=](const toml::node& value) { reader->GetWord(value, "policy", &work->policy); });
  keys.Add("rt_priority", "a number", "1 to 49, of fifo and rr; 1 by default",
           [=](const toml::node& value) {
             int64_t number;
             if (reader->GetNumber(value, "rt_priority", 1, kMaxWorkerRtPriority, &number)) {
               work->rt_priority = static_cast<int>(number);
             }
           });
  keys.Add("cpus", "CPUs", "affinity, inside of the cgroup's CPUs; all of them by default",
           [=](const toml::node& value) { reader->GetCpus(value, "cpus", &work->cpus); });
  return keys;
}

bool ReadWork(TomlReader* reader, const toml::node& node, WorkSpec* work) {
  const toml::table* table = node.as_table();
  if (table == nullptr) {
    reader->Fail(node, absl::StrCat("'work': expected a table, found ", TomlTypeName(node)));
    return false;
  }
  const size_t errors = reader->errors();
  WorkReader(reader, *table, work).Read();
  return reader->errors() == errors;
}

}  // namespace stasis
