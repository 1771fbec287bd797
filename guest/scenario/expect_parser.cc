#include "guest/scenario/expect_parser.h"

#include <algorithm>
#include <limits>

#include "absl/strings/ascii.h"
#include "guest/scenario/expect_table.h"
#include "guest/scenario/scheduler_judge.h"
#include "guest/scenario/step_parser.h"

namespace stasis {
namespace {

constexpr size_t kMostEntries = 64;  // of a list

std::vector<std::string> Targets(const Scenario& scenario) {
  std::vector<std::string> names;
  for (const CgroupSpec& cgroup : scenario.cgroups) {
    names.push_back(cgroup.name);
    for (const WorkSpec& work : cgroup.work) {
      if (!work.name.empty()) names.push_back(work.name);
    }
  }
  return names;
}

class ExpectReader {
 public:
  ExpectReader(TomlReader* reader, Scenario* scenario)
      : reader_(*reader), scenario_(*scenario), expect_(scenario->expect) {}

  void Read(const toml::node& node) {
    TomlReader::Keys keys;
    for (const ExpectationInfo& info : Expectations()) {
      keys.known[info.name] = [this, &info](const toml::node& value) {
        std::visit([&](auto member) { ReadValue(info, value, &(expect_.*member)); }, info.member);
      };
    }
    keys.known["should_fail"] = [this](const toml::node& value) { ReadShouldFail(value); };
    reader_.ReadTable(node, "[expect]", keys);
    CheckSpread(node);
  }

 private:
  void ReadValue(const ExpectationInfo& info, const toml::node& value,
                 std::optional<absl::Duration>* out) {
    absl::Duration duration;
    if (reader_.GetPositive(value, info.name, &duration)) *out = duration;
  }
  void ReadValue(const ExpectationInfo& info, const toml::node& value, bool* out) {
    reader_.Get(value, info.name, out);
  }
  void ReadValue(const ExpectationInfo& info, const toml::node& value,
                 std::optional<uint64_t>* out) {
    int64_t number;
    if (reader_.GetNumber(value, info.name, static_cast<int64_t>(info.low),
                          std::numeric_limits<int64_t>::max(), &number)) {
      *out = static_cast<uint64_t>(number);
    }
  }
  void ReadValue(const ExpectationInfo& info, const toml::node& value, std::optional<double>* out) {
    double number;
    if (reader_.GetReal(value, info.name, info.low, info.high, &number)) *out = number;
  }
  template <typename Entry>
  void ReadValue(const ExpectationInfo& info, const toml::node& value, std::vector<Entry>* out) {
    reader_.ReadEach(value, info.name, [&](const toml::node& item) {
      ReadEntry(info, item, &out->emplace_back());
    });
    if (out->size() > kMostEntries) {
      reader_.Fail(value, absl::StrCat("'", info.name, "': at most ", kMostEntries));
    }
  }

  void ReadEntry(const ExpectationInfo& info, const toml::node& node, LatencyExpect* out) {
    TomlReader::Keys keys;
    keys.known["of"] = [&](const toml::node& value) { GetTarget(value, "of", &out->of); };
    for (auto [key, member] :
         {std::pair("p50", &LatencyExpect::p50), {"p90", &LatencyExpect::p90},
          {"p99", &LatencyExpect::p99}, {"p999", &LatencyExpect::p999},
          {"longest", &LatencyExpect::longest}}) {
      keys.known[key] = [this, key, member, out](const toml::node& value) {
        absl::Duration limit;
        if (reader_.GetPositive(value, key, &limit)) out->*member = limit;
      };
    }
    reader_.ReadTable(node, info.name, keys);
    Need(node, info, {"of"});
    const toml::table* table = node.as_table();
    if (table != nullptr && table->size() < 2) {
      reader_.Fail(node, absl::StrCat("'", info.name, "': nothing is limited; expected ",
                                      info.example));
    }
  }

  void ReadEntry(const ExpectationInfo& info, const toml::node& node, RatioExpect* out) {
    TomlReader::Keys keys;
    int64_t number;
    keys.known["of"] = [&](const toml::node& value) { GetTarget(value, "of", &out->of); };
    keys.known["to"] = [&](const toml::node& value) { GetTarget(value, "to", &out->to); };
    keys.known["by"] = [&](const toml::node& value) { reader_.GetWord(value, "by", &out->by); };
    keys.known["is"] = [&](const toml::node& value) {
      reader_.GetReal(value, "is", 1e-4, 1e4, &out->is);
    };
    keys.known["tolerance"] = [&](const toml::node& value) {
      reader_.GetFraction(value, "tolerance", &out->tolerance);
    };
    keys.known["phase"] = [&](const toml::node& value) {
      if (reader_.GetNumber(value, "phase", 0, static_cast<int64_t>(scenario_.steps.size()),
                            &number)) {
        out->phase = static_cast<uint32_t>(number);
      }
    };
    reader_.ReadTable(node, info.name, keys);
    Need(node, info, {"of", "to", "is"});
  }

  void ReadEntry(const ExpectationInfo& info, const toml::node& node, ScxEventExpect* out) {
    TomlReader::Keys keys;
    int64_t number;
    keys.known["name"] = [&](const toml::node& value) {
      if (!reader_.Get(value, "name", &out->name)) return;
      if (out->name.empty() || !std::all_of(out->name.begin(), out->name.end(), [](char c) {
            return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_';
          })) {
        reader_.Fail(value, "'name': expected a counter such as \"SCX_EV_SELECT_CPU_FALLBACK\"");
      }
    };
    keys.known["max"] = [&](const toml::node& value) {
      if (reader_.GetNumber(value, "max", 0, std::numeric_limits<int64_t>::max(), &number)) {
        out->max = static_cast<uint64_t>(number);
      }
    };
    reader_.ReadTable(node, info.name, keys);
    Need(node, info, {"name", "max"});
  }

  void GetTarget(const toml::node& value, const char* key, std::string* out) {
    reader_.GetOneOf(value, key, "cgroup or work", Targets(scenario_), out);
  }

  void Need(const toml::node& node, const ExpectationInfo& info,
            const std::vector<const char*>& keys) {
    const toml::table* table = node.as_table();
    if (table == nullptr) return;
    for (const char* key : keys) {
      if (table->contains(key)) continue;
      reader_.Fail(node,
                   absl::StrCat("'", info.name, "' without '", key, "'; expected ", info.example));
    }
  }

  void ReadShouldFail(const toml::node& node) {
    std::string name;
    if (!reader_.Get(node, "should_fail", &name)) return;
    std::vector<std::string> names;
    for (const ExpectationInfo& info : Expectations()) names.push_back(info.name);
    for (std::string& failure : SchedulerFailures()) names.push_back(std::move(failure));
    if (std::find(names.begin(), names.end(), name) == names.end()) {
      return reader_.Fail(node, absl::StrCat("'should_fail': '", name, "' is no expectation",
                                             NearMatchHint(name, names), "; expected ",
                                             absl::StrJoin(names, ", ")));
    }
    expect_.should_fail = name;
  }

  void CheckSpread(const toml::node& node) {
    if (!expect_.max_spread.has_value() || HasQuietSecond(scenario_)) return;
    reader_.Fail(*node.as_table()->get("max_spread"),
                 "'max_spread': steps change something all the time; it is judged where nothing "
                 "changes for a second");
  }

  TomlReader& reader_;
  Scenario& scenario_;
  ExpectSpec& expect_;
};

}  // namespace

void ReadExpect(TomlReader* reader, const toml::node& node, Scenario* scenario) {
  ExpectReader(reader, scenario).Read(node);
}

}  // namespace stasis
