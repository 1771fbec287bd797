#include "guest/scenario/parser.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "guest/scenario/cgroup_parser.h"
#include "guest/scenario/cpu_set.h"
#include "guest/scenario/expect_parser.h"
#include "guest/scenario/expect_table.h"
#include "guest/scenario/scheduler_judge.h"
#include "guest/scenario/scheduler_parser.h"
#include "guest/scenario/step_parser.h"
#include "guest/scenario/toml_reader.h"
#include "guest/scenario/work_parser.h"

namespace stasis {
namespace {

// Fills a Scenario from one file; members named after the tables that they read.
class Parser : public TomlReader {
 public:
  Parser(absl::string_view filename, const CpuGroups* groups)
      : TomlReader(filename), groups_(groups) {}

  // What was read; only good without errors.
  Scenario Parse(absl::string_view text);

  Keys RootKeys();
  Keys MachineKeys();

 private:
  void ReadDistances(const toml::node& node, std::vector<std::vector<uint32_t>>* distances);
  void CheckWhole(const toml::table& root);

  const CpuGroups* const groups_;
  Scenario scenario_;
};

TomlReader::Keys Parser::MachineKeys() {
  MachineSpec* machine = &scenario_.machine;
  Keys keys;
  keys.Add("topology", "\"1n2l4c2t\"",
           "NUMA nodes, last-level caches in all, cores for each cache, threads for each core",
           [=, this](const toml::node& value) {
             std::string text;
             if (Get(value, "topology", &text)) machine->topology = text;
           });
  keys.Add("memory", "a size", "of the guest; \"512M\"", [=, this](const toml::node& value) {
    uint64_t bytes;
    if (GetSize(value, "memory", "512M", &bytes)) machine->memory_bytes = bytes;
  });
  keys.Add("cmdline", "a text", "appended to the kernel's command line",
           [=, this](const toml::node& value) { Get(value, "cmdline", &machine->cmdline); });
  keys.Add("requires", "a list of texts",
           "options that the kernel must have, such as \"SCHED_CLASS_EXT\"",
           [=, this](const toml::node& value) {
             ReadEach(value, "requires", [&](const toml::node& item) {
               std::string text;
               if (!Get(item, "requires", &text)) return;
               machine->required_config.emplace_back(absl::StripPrefix(text, "CONFIG_"));
             });
           });
  keys.Add("min_cpus", "a number", "the scenario makes no sense with less; 1 by default",
           [=, this](const toml::node& value) {
             int64_t number;
             if (GetNumber(value, "min_cpus", 1, CpuSet::kMaxCpus, &number)) {
               machine->min_cpus = static_cast<uint32_t>(number);
             }
           });
  keys.Add("needs_smt", "true or false", "whether it needs two threads per core; false by default",
           [=, this](const toml::node& value) { Get(value, "needs_smt", &machine->needs_smt); });
  keys.Add("disks", "a list of texts", "virtio disks, as --disk takes them",
           [=, this](const toml::node& value) {
             ReadEach(value, "disks", [&](const toml::node& item) {
               std::string text;
               if (Get(item, "disks", &text)) machine->disks.push_back(text);
             });
           });
  keys.Add("distances", "a list of lists of numbers",
           "relative distances between the NUMA nodes, a row for each node, such as "
           "[[10, 31], [31, 10]]; 10 to itself and 20 to the others by default",
           [=, this](const toml::node& value) { ReadDistances(value, &machine->distances); });
  keys.Add("kaslr", "true or false", "whether the kernel may move itself; false by default",
           [=, this](const toml::node& value) { Get(value, "kaslr", &machine->kaslr); });
  return keys;
}

// Whether there are as many rows as nodes is for the topology to say, which the command line may
// change.
void Parser::ReadDistances(const toml::node& node, std::vector<std::vector<uint32_t>>* distances) {
  ReadEach(node, "distances", [&](const toml::node& row) {
    std::vector<uint32_t>& values = distances->emplace_back();
    ReadEach(row, "distances", [&](const toml::node& item) {
      int64_t number;
      if (GetNumber(item, "distances", 10, 254, &number)) {
        values.push_back(static_cast<uint32_t>(number));
      }
    });
  });
  const size_t rows = distances->size();
  for (const std::vector<uint32_t>& row : *distances) {
    if (errors() > 0 || row.size() == rows) continue;
    return Fail(node, absl::StrCat("'distances': ", rows, " rows, one of ", row.size(),
                                   " values; expected as many values in each"));
  }
}

TomlReader::Keys Parser::RootKeys() {
  Keys keys;
  keys.Add("summary", "a text", "one line: what the scenario is, and what bug it hunts",
           [this](const toml::node& v) { Get(v, "summary", &scenario_.summary); });
  keys.Add("duration", "a time", "how long the workers run; at most 24 hours",
           [this](const toml::node& v) { GetPositive(v, "duration", &scenario_.duration); });
  keys.Add("machine", "a table", "what the machine must be",
           [this](const toml::node& v) { ReadTable(v, "[machine]", MachineKeys()); });
  keys.Add("scheduler", "a table",
           "the sched_ext scheduler that is tested; the kernel's own without",
           [this](const toml::node& v) {
             ReadScheduler(this, v, &scenario_.scheduler.emplace());
           });
  keys.Add("cgroup", "tables", "cgroups (v2) with their work",
           [this](const toml::node& v) {
             ReadEach(v, "cgroup", [&](const toml::node& item) {
               ReadCgroup(this, item, groups_, &scenario_);
             });
           });
  // Read after all others, of which they speak.
  keys.Add("step", "tables", "what changes while it runs", [](const toml::node&) {});
  keys.Add("expect", "a table", "what must hold", [](const toml::node&) {});
  return keys;
}

// What no single key is to blame for.
void Parser::CheckWhole(const toml::table& root) {
  if (scenario_.duration > absl::Hours(24)) {
    Fail(*root.get("duration"), "'duration': at most 24 hours");
  }
  const uint32_t workers = WorkerCount(scenario_);
  if (workers == 0) Fail(root, "no work; expected a [[cgroup]] with work = [{ kind = ... }]");
  if (workers > kMaxWorkers) {
    Fail(root, absl::StrCat(workers, " workers in all, those that steps start included; at most ",
                            kMaxWorkers));
  }
  if ((scenario_.steps.size() + 1) * workers > kMaxPhaseFigures) {
    Fail(root, absl::StrCat(scenario_.steps.size(), " steps with ", workers,
                            " workers; at most ", kMaxPhaseFigures,
                            " for (steps + 1) times workers"));
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
  std::vector<std::string> names;
  bool any = false;
  for (const ExpectationInfo& info : Expectations()) {
    names.push_back(info.name);
    any |= IsSet(expect, info);
  }
  if (!any) {
    Fail(root, absl::StrCat("nothing is expected: [expect] needs one of ",
                            absl::StrJoin(names, ", ")));
  }
  if (!expect.should_fail.has_value()) return;
  const ExpectationInfo* info = ExpectationByName(*expect.should_fail);
  if (info != nullptr && !IsSet(expect, *info)) {
    Fail(*root["expect"]["should_fail"].node(),
         absl::StrCat("'should_fail': there is no '", *expect.should_fail, "' in [expect]"));
  }
}

Scenario Parser::Parse(absl::string_view text) {
  absl::string_view name = filename();
  if (const size_t slash = name.rfind('/'); slash != absl::string_view::npos) {
    name.remove_prefix(slash + 1);
  }
  scenario_.name = std::string(absl::StripSuffix(name, ".toml"));
  const toml::parse_result parsed = toml::parse(std::string_view(text.data(), text.size()));
  if (!parsed) {
    const std::string_view what = parsed.error().description();
    Fail(parsed.error().source(), absl::string_view(what.data(), what.size()));
    return scenario_;
  }
  const toml::table& root = parsed.table();
  ReadTable(root, "", RootKeys());
  if (const toml::node* steps = root.get("step")) ReadSteps(this, *steps, groups_, &scenario_);
  if (const toml::node* expect = root.get("expect")) ReadExpect(this, *expect, &scenario_);
  SortErrors();
  if (!root.contains("duration")) {
    Fail(root, "no 'duration'; expected a time such as duration = \"10s\"");
  }
  if (errors() == 0) CheckWhole(root);
  return scenario_;
}

}  // namespace

absl::StatusOr<Scenario> ParseScenario(absl::string_view text, absl::string_view filename,
                                       const CpuGroups* groups) {
  Parser parser(filename, groups);
  Scenario scenario = parser.Parse(text);
  if (parser.errors() != 0) return parser.status();
  return scenario;
}

std::vector<std::string> CheckScenario(absl::string_view text, absl::string_view filename,
                                       const CpuGroups* groups) {
  Parser parser(filename, groups);
  parser.Parse(text);
  return parser.AllErrors();
}

absl::StatusOr<Scenario> LoadScenario(const std::string& path, const CpuGroups* groups) {
  absl::StatusOr<std::string> text = ReadScenarioFile(path);
  if (!text.ok()) return text.status();
  return ParseScenario(*text, path, groups);
}

absl::StatusOr<std::string> ReadScenarioFile(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return absl::ErrnoToStatus(errno, absl::StrCat("scenario ", path));
  std::string text;
  char buffer[8192];
  ssize_t got;
  while ((got = read(fd, buffer, sizeof(buffer))) > 0) text.append(buffer, got);
  const int error = errno;
  close(fd);
  if (got < 0) return absl::ErrnoToStatus(error, absl::StrCat("scenario ", path));
  return text;
}

std::vector<TableReference> ScenarioTables() {
  Parser parser("", nullptr);
  SchedulerSpec scheduler;
  CgroupSpec cgroup;
  WorkSpec work;
  std::vector<TableReference> tables;
  const auto add = [&tables](const char* name, const TomlReader::Keys& keys) {
    TableReference& table = tables.emplace_back();
    table.name = name;
    for (const auto& [key, info] : keys.known) table.keys.push_back({key, info.form, info.what});
  };
  add("", parser.RootKeys());
  add("[machine]", parser.MachineKeys());
  add("[scheduler]", SchedulerKeys(&parser, &scheduler));
  add("[[cgroup]]", CgroupKeys(&parser, &cgroup));
  add("work", CommonWorkKeys(&parser, &work));
  return tables;
}

}  // namespace stasis
