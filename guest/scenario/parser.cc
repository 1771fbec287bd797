#include "guest/scenario/parser.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <limits>
#include <map>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "guest/scenario/cpu_set.h"
#include "guest/scenario/near_match.h"
#include "guest/scenario/scheduler_judge.h"
#include "guest/scenario/scheduler_parser.h"
#include "guest/scenario/toml_reader.h"
#include "guest/scenario/units.h"
#include "guest/scenario/work_parser.h"

namespace stasis {
namespace {

// Fills a Scenario from one file; members named after the tables that they read.
class Parser : private TomlReader {
 public:
  explicit Parser(absl::string_view filename) : TomlReader(filename) {}

  absl::StatusOr<Scenario> Parse(absl::string_view text);

 private:
  void ReadMachine(const toml::node& node);
  void ReadCgroup(const toml::node& node);
  void ReadName(const toml::node& node, CgroupSpec* cgroup);
  void ReadMax(const toml::node& node, CpuMax* max);
  void ReadExpect(const toml::node& node);
  void ReadShouldFail(const toml::node& node);
  void CheckWhole(const toml::table& root);

  Scenario scenario_;
};

void Parser::ReadMachine(const toml::node& node) {
  MachineSpec& machine = scenario_.machine;
  int64_t number;
  std::string text;
  Keys keys;
  keys.known["topology"] = [&](const toml::node& value) {
    if (Get(value, "topology", &text)) machine.topology = text;
  };
  keys.known["memory"] = [&](const toml::node& value) {
    if (value.is_number()) {
      Fail(value, "'memory': a number without a unit; expected a size in quotes, such as \"512M\"");
      return;
    }
    if (!Get(value, "memory", &text)) return;
    auto bytes = ParseMemoryBytes(text);
    if (!bytes.ok()) return Fail(value, absl::StrCat("'memory': ", bytes.status().message()));
    machine.memory_bytes = *bytes;
  };
  keys.known["cmdline"] = [&](const toml::node& value) { Get(value, "cmdline", &machine.cmdline); };
  keys.known["requires"] = [&](const toml::node& value) {
    ReadEach(value, "requires", [&](const toml::node& item) {
      if (!Get(item, "requires", &text)) return;
      machine.required_config.emplace_back(absl::StripPrefix(text, "CONFIG_"));
    });
  };
  keys.known["min_cpus"] = [&](const toml::node& value) {
    if (GetNumber(value, "min_cpus", 1, CpuSet::kMaxCpus, &number)) {
      machine.min_cpus = static_cast<uint32_t>(number);
    }
  };
  keys.known["needs_smt"] = [&](const toml::node& value) {
    Get(value, "needs_smt", &machine.needs_smt);
  };
  keys.known["disks"] = [&](const toml::node& value) {
    ReadEach(value, "disks", [&](const toml::node& item) {
      if (!Get(item, "disks", &text)) return;
      machine.disks.push_back(text);
    });
  };
  keys.refused["distances"] = "NUMA distances are the default ones";
  ReadTable(node, "[machine]", keys);
}

void Parser::ReadMax(const toml::node& node, CpuMax* max) {
  std::string text;
  if (!Get(node, "max", &text)) return;
  const size_t slash = text.find('/');
  auto quota = ParseDuration(absl::string_view(text).substr(0, slash));
  auto period = slash == std::string::npos
                    ? absl::StatusOr<absl::Duration>(absl::InvalidArgumentError(""))
                    : ParseDuration(absl::string_view(text).substr(slash + 1));
  // The kernel's own limits.
  if (!quota.ok() || !period.ok() || *quota < absl::Milliseconds(1) ||
      *period < absl::Milliseconds(1) || *period > absl::Seconds(1)) {
    Fail(node, absl::StrCat("'max': '", text,
                            "'; expected CPU time per period, such as \"50ms/100ms\" (at least "
                            "1ms, period at most 1s)"));
    return;
  }
  *max = CpuMax{*quota, *period};
}

void Parser::ReadName(const toml::node& node, CgroupSpec* cgroup) {
  if (!Get(node, "name", &cgroup->name)) return;
  const bool valid = !cgroup->name.empty() && cgroup->name.size() <= 64 && cgroup->name[0] != '.' &&
                     std::all_of(cgroup->name.begin(), cgroup->name.end(), [](char c) {
                       return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_' ||
                              c == '-' || c == '.';
                     });
  if (absl::StrContains(cgroup->name, "/")) {
    return Fail(node, "'name': nested cgroups ('/') are not supported yet");
  }
  if (!valid) Fail(node, "'name': expected 1 to 64 letters, digits, '_', '-' or '.'");
  for (const CgroupSpec& other : scenario_.cgroups) {
    if (other.name == cgroup->name) {
      Fail(node, absl::StrCat("'name': there is a cgroup '", cgroup->name, "' already"));
    }
  }
}

void Parser::ReadCgroup(const toml::node& node) {
  CgroupSpec cgroup;
  int64_t number;
  Keys keys;
  keys.known["name"] = [&](const toml::node& value) { ReadName(value, &cgroup); };
  keys.known["cpus"] = [&](const toml::node& value) { GetCpus(value, "cpus", &cgroup.cpus); };
  keys.known["weight"] = [&](const toml::node& value) {
    if (GetNumber(value, "weight", 1, 10000, &number)) {
      cgroup.weight = static_cast<uint32_t>(number);
    }
  };
  keys.known["max"] = [&](const toml::node& value) { ReadMax(value, &cgroup.max.emplace()); };
  keys.known["work"] = [&](const toml::node& value) {
    ReadEach(value, "work", [&](const toml::node& item) {
      WorkSpec work;
      if (ReadWork(this, item, &work)) cgroup.work.push_back(std::move(work));
    });
  };
  keys.refused["memory"] = keys.refused["memory_max"] = "memory limits come later";
  ReadTable(node, "[[cgroup]]", keys);
  if (cgroup.name.empty()) Fail(node, "[[cgroup]] without 'name'");
  scenario_.cgroups.push_back(std::move(cgroup));
}

void Parser::ReadShouldFail(const toml::node& node) {
  std::string name;
  if (!Get(node, "should_fail", &name)) return;
  std::vector<std::string> names = {"max_gap", "max_spread", "isolation", "min_iterations"};
  for (std::string& failure : SchedulerFailures()) names.push_back(std::move(failure));
  if (std::find(names.begin(), names.end(), name) == names.end()) {
    return Fail(
        node, absl::StrCat("'should_fail': '", name, "' is no expectation",
                           NearMatchHint(name, names), "; expected ", absl::StrJoin(names, ", ")));
  }
  scenario_.expect.should_fail = name;
}

void Parser::ReadExpect(const toml::node& node) {
  ExpectSpec& expect = scenario_.expect;
  int64_t number;
  Keys keys;
  keys.known["max_gap"] = [&](const toml::node& value) {
    GetPositive(value, "max_gap", &expect.max_gap.emplace());
  };
  keys.known["max_spread"] = [&](const toml::node& value) {
    GetFraction(value, "max_spread", &expect.max_spread.emplace());
  };
  keys.known["isolation"] = [&](const toml::node& value) {
    Get(value, "isolation", &expect.isolation);
  };
  keys.known["min_iterations"] = [&](const toml::node& value) {
    if (GetNumber(value, "min_iterations", 1, std::numeric_limits<int64_t>::max(), &number)) {
      expect.min_iterations = static_cast<uint64_t>(number);
    }
  };
  keys.known["should_fail"] = [&](const toml::node& value) { ReadShouldFail(value); };
  for (const char* later : {"wakeup_latency", "migrations", "iteration_rate", "ratio", "throughput",
                            "imbalance", "stall", "scx_events"}) {
    keys.refused[later] = "this version judges max_gap, max_spread, isolation, min_iterations";
  }
  ReadTable(node, "[expect]", keys);
}

void Parser::CheckWhole(const toml::table& root) {
  if (!root.contains("duration")) {
    Fail(root, "no 'duration'; expected a time such as duration = \"10s\"");
  }
  if (scenario_.duration > absl::Hours(24)) {
    Fail(*root.get("duration"), "'duration': at most 24 hours");
  }
  const uint32_t workers = WorkerCount(scenario_);
  if (workers == 0) Fail(root, "no work; expected a [[cgroup]] with work = [{ kind = ... }]");
  if (workers > kMaxWorkers) {
    Fail(root, absl::StrCat(workers, " workers in all; at most ", kMaxWorkers));
  }
  const ExpectSpec& expect = scenario_.expect;
  const bool scheduler_fails =
      expect.should_fail.has_value() && IsSchedulerFailure(*expect.should_fail);
  if (scheduler_fails && !scenario_.scheduler.has_value()) {
    Fail(*root["expect"]["should_fail"].node(),
         absl::StrCat("'should_fail': '", *expect.should_fail,
                      "' is an end of the scheduler, and there is no [scheduler]"));
  }
  if (scheduler_fails) return;
  if (!expect.max_gap && !expect.max_spread && !expect.isolation && !expect.min_iterations) {
    Fail(root,
         "nothing is expected: [expect] needs max_gap, max_spread, isolation or "
         "min_iterations");
  }
  if (!expect.should_fail.has_value()) return;
  const std::map<std::string, bool> set = {{"max_gap", expect.max_gap.has_value()},
                                           {"max_spread", expect.max_spread.has_value()},
                                           {"isolation", expect.isolation},
                                           {"min_iterations", expect.min_iterations.has_value()}};
  if (!set.at(*expect.should_fail)) {
    Fail(*root["expect"]["should_fail"].node(),
         absl::StrCat("'should_fail': there is no '", *expect.should_fail, "' in [expect]"));
  }
}

absl::StatusOr<Scenario> Parser::Parse(absl::string_view text) {
  absl::string_view name = filename();
  if (const size_t slash = name.rfind('/'); slash != absl::string_view::npos) {
    name.remove_prefix(slash + 1);
  }
  scenario_.name = std::string(absl::StripSuffix(name, ".toml"));
  const toml::parse_result parsed = toml::parse(std::string_view(text.data(), text.size()));
  if (!parsed) {
    const std::string_view what = parsed.error().description();
    Fail(parsed.error().source(), absl::string_view(what.data(), what.size()));
    return status();
  }
  const toml::table& root = parsed.table();
  Keys keys;
  keys.known["summary"] = [&](const toml::node& v) { Get(v, "summary", &scenario_.summary); };
  keys.known["duration"] = [&](const toml::node& v) {
    GetPositive(v, "duration", &scenario_.duration);
  };
  keys.known["machine"] = [&](const toml::node& v) { ReadMachine(v); };
  keys.known["scheduler"] = [&](const toml::node& v) {
    ReadScheduler(this, v, &scenario_.scheduler.emplace());
  };
  keys.known["cgroup"] = [&](const toml::node& v) {
    ReadEach(v, "cgroup", [&](const toml::node& item) { ReadCgroup(item); });
  };
  keys.known["expect"] = [&](const toml::node& v) { ReadExpect(v); };
  keys.refused["step"] = "steps over time come later";
  ReadTable(root, "", keys);
  CheckWhole(root);
  if (!status().ok()) return status();
  return scenario_;
}

}  // namespace

absl::StatusOr<Scenario> ParseScenario(absl::string_view text, absl::string_view filename) {
  return Parser(filename).Parse(text);
}

absl::StatusOr<Scenario> LoadScenario(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return absl::ErrnoToStatus(errno, absl::StrCat("scenario ", path));
  std::string text;
  char buffer[8192];
  ssize_t got;
  while ((got = read(fd, buffer, sizeof(buffer))) > 0) text.append(buffer, got);
  const int error = errno;
  close(fd);
  if (got < 0) return absl::ErrnoToStatus(error, absl::StrCat("scenario ", path));
  return ParseScenario(text, path);
}

}  // namespace stasis
