#include "guest/scenario/cgroup_parser.h"

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "guest/scenario/names.h"
#include "guest/scenario/step_state.h"
#include "guest/scenario/units.h"
#include "guest/scenario/work_parser.h"

namespace stasis {
namespace {

// The kernel's own limits.
constexpr absl::Duration kLeastPeriod = absl::Milliseconds(1);
constexpr absl::Duration kMostPeriod = absl::Seconds(1);
constexpr size_t kMostLevels = 8;

// Reads one [[cgroup]].
class CgroupReader {
 public:
  CgroupReader(TomlReader* reader, const toml::node& node, const CpuGroups* groups,
               Scenario* scenario)
      : reader_(*reader), node_(node), groups_(groups), scenario_(*scenario) {}

  void Read() {
    reader_.ReadTable(node_, "[[cgroup]]", CgroupKeys(&reader_, &cgroup_));
    if (node_.is_table() && cgroup_.name.empty() && !node_.as_table()->contains("name")) {
      reader_.Fail(node_, "[[cgroup]] without 'name'");
    }
    CheckName();
    CheckWorkNames();
    scenario_.cgroups.push_back(std::move(cgroup_));
    CheckCpus();
  }

 private:
  // The value of a key, or the whole table.
  const toml::node& At(const char* key) const {
    const toml::table* table = node_.as_table();
    const toml::node* value = table == nullptr ? nullptr : table->get(key);
    return value == nullptr ? node_ : *value;
  }

  void CheckName() {
    const std::string& name = cgroup_.name;
    std::vector<std::string> names;
    for (const CgroupSpec& other : scenario_.cgroups) {
      names.push_back(other.name);
      if (!name.empty() && other.name == name) {
        reader_.Fail(At("name"), absl::StrCat("'name': there is a cgroup '", name, "' already"));
      }
    }
    const std::string parent = ParentOf(name);
    if (parent.empty()) return;
    for (const CgroupSpec& other : scenario_.cgroups) {
      if (other.name != parent) continue;
      if (!other.work.empty()) {
        reader_.Fail(At("name"),
                     absl::StrCat("'name': cgroup '", parent, "' has work, and so cannot have '",
                                  name, "' below it: cgroup v2 has processes in leaves only"));
      }
      if (cgroup_.at_start && !other.at_start) {
        reader_.Fail(At("name"), absl::StrCat("'name': a step adds '", parent, "', so '", name,
                                              "' needs at_start = false, too"));
      }
      return;
    }
    reader_.Fail(At("name"), absl::StrCat("'name': there is no cgroup '", parent, "' before '",
                                          name, "'", NearMatchHint(parent, names),
                                          "; expected a [[cgroup]] of that name first"));
  }

  void CheckWorkNames() {
    const toml::array* works = At("work").as_array();
    for (size_t i = 0; i < cgroup_.work.size(); ++i) {
      const std::string& name = cgroup_.work[i].name;
      if (name.empty()) continue;
      bool taken = false;
      for (size_t j = 0; j < i; ++j) taken |= cgroup_.work[j].name == name;
      for (const CgroupSpec& other : scenario_.cgroups) {
        taken |= other.name == name;
        for (const WorkSpec& work : other.work) taken |= work.name == name;
      }
      if (!taken && name != cgroup_.name) continue;
      const toml::node* place = works == nullptr || i >= works->size() ? &node_ : works->get(i);
      reader_.Fail(*place,
                   absl::StrCat("'name': there is work or a cgroup '", name, "' already"));
    }
  }

  void CheckCpus() {
    const CgroupSpec& cgroup = scenario_.cgroups.back();
    if (groups_ == nullptr) return;
    auto own = ResolveCpus(cgroup.cpus, *groups_);
    if (!own.ok()) {
      if (absl::IsFailedPrecondition(own.status())) {
        reader_.Fail(At("cpus"), absl::StrCat("'cpus': ", own.status().message()));
      }
      return;
    }
    // As if all of them were there at the start: what a step adds must fit as well.
    Scenario all;
    for (const CgroupSpec& other : scenario_.cgroups) {
      all.cgroups.push_back({.name = other.name, .cpus = other.cpus});
    }
    const StepState state(all, groups_);
    absl::Status status = state.CheckCpus(cgroup.name);
    if (!status.ok()) return reader_.Fail(At("cpus"), absl::StrCat("'cpus': ", status.message()));
    const CpuSet mine = state.CpusOf(cgroup.name);
    for (const WorkSpec& work : cgroup.work) {
      if (work.cpus.empty()) continue;
      auto affinity = ResolveCpus(work.cpus, *groups_);
      if (affinity.ok() && !(*affinity & mine).empty()) continue;
      reader_.Fail(At("work"),
                   affinity.ok()
                       ? absl::StrCat("'cpus' of work: ", affinity->ToString(),
                                      ", but the cgroup has ", mine.ToString())
                       : absl::StrCat("'cpus' of work: ", affinity.status().message()));
    }
  }

  TomlReader& reader_;
  const toml::node& node_;
  const CpuGroups* const groups_;
  Scenario& scenario_;
  CgroupSpec cgroup_;
};

void ReadName(TomlReader* reader, const toml::node& node, CgroupSpec* cgroup) {
  if (!reader->Get(node, "name", &cgroup->name)) return;
  const std::vector<std::string> parts = absl::StrSplit(cgroup->name, '/');
  for (const std::string& part : parts) {
    if (!IsPlainName(part)) {
      return reader->Fail(node, absl::StrCat("'name': ", kPlainNameForm,
                                             parts.size() > 1 ? " between slashes" : ""));
    }
  }
  if (parts.size() > kMostLevels) {
    reader->Fail(node, absl::StrCat("'name': at most ", kMostLevels, " levels"));
  }
}

}  // namespace

bool ReadCpuMax(TomlReader* reader, const toml::node& node, absl::string_view key, bool or_none,
                std::optional<CpuMax>* max) {
  std::string text;
  if (!reader->Get(node, key, &text)) return false;
  if (or_none && text == "max") {
    max->reset();
    return true;
  }
  const size_t slash = text.find('/');
  auto quota = ParseDuration(absl::string_view(text).substr(0, slash));
  auto period = slash == std::string::npos
                    ? absl::StatusOr<absl::Duration>(absl::InvalidArgumentError(""))
                    : ParseDuration(absl::string_view(text).substr(slash + 1));
  if (!quota.ok() || !period.ok() || *quota < kLeastPeriod || *period < kLeastPeriod ||
      *period > kMostPeriod) {
    reader->Fail(node, absl::StrCat("'", key, "': '", text,
                                    "'; expected CPU time per period, such as \"50ms/100ms\" (at "
                                    "least 1ms, period at most 1s)",
                                    or_none ? ", or \"max\"" : ""));
    return false;
  }
  *max = CpuMax{*quota, *period};
  return true;
}

TomlReader::Keys CgroupKeys(TomlReader* reader, CgroupSpec* cgroup) {
  TomlReader::Keys keys;
  keys.Add("name", "a name", "\"a\", or \"a/b\" below a cgroup \"a\" that stands before it",
           [=](const toml::node& value) { ReadName(reader, value, cgroup); });
  keys.Add("cpus", "CPUs", "cpuset.cpus; its parent's by default",
           [=](const toml::node& value) { reader->GetCpus(value, "cpus", &cgroup->cpus); });
  keys.Add("weight", "a number", "cpu.weight, 1 to 10000; 100 by default",
           [=](const toml::node& value) {
             int64_t number;
             if (reader->GetNumber(value, "weight", 1, 10000, &number)) {
               cgroup->weight = static_cast<uint32_t>(number);
             }
           });
  keys.Add("max", "time/time", "cpu.max: CPU time in each period; no limit by default",
           [=](const toml::node& value) {
             ReadCpuMax(reader, value, "max", /*or_none=*/false, &cgroup->max);
           });
  keys.Add("memory_max", "a size", "memory.max; no limit by default", [=](const toml::node& value) {
    uint64_t bytes;
    if (reader->GetSize(value, "memory_max", "64M", &bytes)) cgroup->memory_max_bytes = bytes;
  });
  keys.Add("at_start", "true or false", "false: a step adds it (add_cgroup); true by default",
           [=](const toml::node& value) { reader->Get(value, "at_start", &cgroup->at_start); });
  keys.Add("work", "a list of tables", "what runs in it; see below", [=](const toml::node& value) {
    reader->ReadEach(value, "work", [&](const toml::node& item) {
      // Kept after an error as well: its name is known to what speaks of it.
      ReadWork(reader, item, &cgroup->work.emplace_back());
    });
  });
  return keys;
}

void ReadCgroup(TomlReader* reader, const toml::node& node, const CpuGroups* groups,
                Scenario* scenario) {
  CgroupReader(reader, node, groups, scenario).Read();
}

}  // namespace stasis
