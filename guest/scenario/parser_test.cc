#include "guest/scenario/parser.h"

#include <filesystem>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace stasis {
namespace {

constexpr char kGood[] = R"(summary = "s"
duration = "10s"
[machine]
topology = "1n2l2c1t"
memory = "512M"
requires = ["CONFIG_NUMA", "CPUSETS"]
min_cpus = 4
[[cgroup]]
name = "left"
cpus = "half:0"
weight = 50
max = "50ms/100ms"
work = [{ kind = "cpu_spin", workers = 4, nice = 5 }, { kind = "bursty", run = "5ms", sleep = "10ms" }]
[[cgroup]]
name = "right"
work = [{ kind = "yield", policy = "fifo", cpus = "0-1" }]
[expect]
max_gap = "2s"
max_spread = 0.15
isolation = true
min_iterations = 1000
should_fail = "max_gap"
)";

// The message for a file that consists of what a scenario needs and `more` in front of it.
std::string ErrorOf(const std::string& text) {
  auto scenario = ParseScenario(text, "dir/x.toml");
  return scenario.ok() ? "ok" : std::string(scenario.status().message());
}

std::string With(const std::string& from, const std::string& to) {
  std::string text = kGood;
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(ParseScenarioTest, EverythingThatIsWrittenIsRead) {
  auto scenario = ParseScenario(kGood, "dir/x.toml");

  ASSERT_TRUE(scenario.ok()) << scenario.status();
  EXPECT_EQ(scenario->name, "x");
  EXPECT_EQ(scenario->duration, absl::Seconds(10));
  EXPECT_EQ(scenario->machine.topology, "1n2l2c1t");
  EXPECT_EQ(scenario->machine.memory_bytes, uint64_t{512} << 20);
  EXPECT_EQ(scenario->machine.required_config, (std::vector<std::string>{"NUMA", "CPUSETS"}));
  ASSERT_EQ(scenario->cgroups.size(), 2u);
  const CgroupSpec& left = scenario->cgroups[0];
  EXPECT_EQ(left.cpus, "half:0");
  EXPECT_EQ(left.weight, 50u);
  EXPECT_EQ(left.max->quota, absl::Milliseconds(50));
  ASSERT_EQ(left.work.size(), 2u);
  EXPECT_EQ(left.work[0].workers, 4u);
  EXPECT_EQ(left.work[0].nice, 5);
  EXPECT_EQ(left.work[1].kind, WorkKind::kBursty);
  EXPECT_EQ(left.work[1].sleep, absl::Milliseconds(10));
  const WorkSpec& fifo = scenario->cgroups[1].work[0];
  EXPECT_EQ(fifo.policy, SchedPolicy::kFifo);
  EXPECT_EQ(fifo.rt_priority, 1);
  EXPECT_EQ(fifo.cpus, "0-1");
  EXPECT_EQ(scenario->expect.max_gap, absl::Seconds(2));
  EXPECT_EQ(scenario->expect.max_spread, 0.15);
  EXPECT_TRUE(scenario->expect.isolation);
  EXPECT_EQ(scenario->expect.min_iterations, 1000u);
  EXPECT_EQ(scenario->expect.should_fail, "max_gap");
  EXPECT_EQ(WorkerCount(*scenario), 6u);
}

TEST(ParseScenarioTest, UnknownKeyIsPointedAtWithANearOne) {
  EXPECT_EQ(ErrorOf(With("min_cpus", "min_cpu")),
            "dir/x.toml:7:1: unknown key 'min_cpu' in [machine]; did you mean 'min_cpus'?");
  EXPECT_EQ(ErrorOf(With("workers = 4", "wrokers = 4")),
            "dir/x.toml:13:30: unknown key 'wrokers' in work; did you mean 'workers'?");
  EXPECT_EQ(ErrorOf(With("[expect]", "[expects]")),
            "dir/x.toml:17:2: unknown key 'expects'; did you mean 'expect'?");
}

TEST(ParseScenarioTest, BareNumberWhereATimeIsNeededSaysSo) {
  EXPECT_EQ(ErrorOf(With("\"10s\"", "10")),
            "dir/x.toml:2:12: 'duration': a number without a unit; expected a time in quotes, such "
            "as \"10s\" or \"5ms\"");
  EXPECT_EQ(ErrorOf(With("\"512M\"", "512")),
            "dir/x.toml:5:10: 'memory': a number without a unit; expected a size in quotes, such "
            "as \"512M\"");
}

TEST(ParseScenarioTest, SyntaxErrorHasItsPlace) {
  EXPECT_TRUE(absl::StartsWith(ErrorOf("summary = \"s\"\nduration = \n"), "dir/x.toml:2:"))
      << ErrorOf("summary = \"s\"\nduration = \n");
}

TEST(ParseScenarioTest, DistancesAreRowsOfNumbers) {
  const auto scenario = ParseScenario(
      With("min_cpus = 4", "distances = [[10, 31], [31, 10]]\nkaslr = true"), "dir/x.toml");

  ASSERT_TRUE(scenario.ok()) << scenario.status();
  EXPECT_EQ(scenario->machine.distances,
            (std::vector<std::vector<uint32_t>>{{10, 31}, {31, 10}}));
  EXPECT_TRUE(scenario->machine.kaslr);
}

TEST(ParseScenarioTest, DistancesThatAreNoTableAreRefused) {
  EXPECT_TRUE(absl::StrContains(ErrorOf(With("min_cpus = 4", "distances = 4")), "'distances'"));
  EXPECT_TRUE(absl::StrContains(ErrorOf(With("min_cpus = 4", "distances = [10]")), "'distances'"));
  EXPECT_TRUE(absl::StrContains(ErrorOf(With("min_cpus = 4", "distances = [[10, 300], [300, 10]]")),
                                "'distances'"));
  EXPECT_TRUE(absl::StrContains(ErrorOf(With("min_cpus = 4", "distances = [[10, 20], [20]]")),
                                "2 rows, one of 1 values"));
}

TEST(ParseScenarioTest, NestedCgroupsNeedTheirParentBeforeThem) {
  const std::string nested =
      "duration = \"1s\"\n[[cgroup]]\nname = \"a\"\nmemory_max = \"64M\"\n[[cgroup]]\nname = "
      "\"a/b\"\nwork = [{ kind = \"yield\" }]\n[expect]\nisolation = true\n";
  auto scenario = ParseScenario(nested, "x.toml");

  ASSERT_TRUE(scenario.ok()) << scenario.status();
  EXPECT_EQ(scenario->cgroups[1].name, "a/b");
  EXPECT_EQ(scenario->cgroups[0].memory_max_bytes, uint64_t{64} << 20);
  EXPECT_TRUE(absl::StrContains(ErrorOf(With("\"right\"", "\"lefd/x\"")),
                                "there is no cgroup 'lefd' before 'lefd/x'; did you mean 'left'?"));
  EXPECT_TRUE(absl::StrContains(ErrorOf(With("\"right\"", "\"left/x\"")),
                                "cgroup 'left' has work, and so cannot have 'left/x' below it"));
  EXPECT_TRUE(absl::StrContains(ErrorOf(With("\"right\"", "\"left//x\"")), "between slashes"));
}

TEST(ParseScenarioTest, NamesOfWorkAreUnique) {
  EXPECT_TRUE(absl::StrContains(
      ErrorOf(With("kind = \"yield\"", "kind = \"yield\", name = \"left\"")),
      "there is work or a cgroup 'left' already"));
}

TEST(ParseScenarioTest, EveryExpectationIsRead) {
  auto scenario = ParseScenario(With("isolation = true", R"(isolation = true
min_iteration_rate = 10
max_migrations = 5
max_migration_rate = 2.5
max_variation = 0.3
max_stall = "1s"
max_imbalance = 1.5
wakeup = [{ of = "left", p50 = "1ms", p99 = "20ms", longest = "1s" }]
response = [{ of = "right", p999 = "1s" }]
ratio = [{ of = "left", to = "right", by = "iterations", is = 4, tolerance = 0.5, phase = 0 }]
scx_events = [{ name = "SCX_EV_SELECT_CPU_FALLBACK", max = 3 }])"),
                                "x.toml");

  ASSERT_TRUE(scenario.ok()) << scenario.status();
  const ExpectSpec& expect = scenario->expect;
  EXPECT_EQ(expect.min_iteration_rate, 10);
  EXPECT_EQ(expect.max_migrations, 5u);
  EXPECT_EQ(expect.max_migration_rate, 2.5);
  EXPECT_EQ(expect.max_variation, 0.3);
  EXPECT_EQ(expect.max_stall, absl::Seconds(1));
  EXPECT_EQ(expect.max_imbalance, 1.5);
  EXPECT_EQ(expect.wakeup[0].p99, absl::Milliseconds(20));
  EXPECT_EQ(expect.response[0].p999, absl::Seconds(1));
  EXPECT_EQ(expect.ratio[0].by, Quantity::kIterations);
  EXPECT_EQ(expect.ratio[0].phase, 0u);
  EXPECT_EQ(expect.scx_events[0].max, 3u);
}

TEST(ParseScenarioTest, ExpectationsThatMakeNoSenseAreRefused) {
  struct Case {
    const char* line;
    const char* says;
  };
  for (const Case& c : {
           Case{"wakeup = [{ of = \"lefd\", p50 = \"1ms\" }]",
                "there is no cgroup or work 'lefd'; did you mean 'left'?"},
           Case{"wakeup = [{ p50 = \"1ms\" }]", "'wakeup' without 'of'"},
           Case{"wakeup = [{ of = \"left\" }]", "nothing is limited"},
           Case{"wakeup = { of = \"left\" }", "expected an array, found a table"},
           Case{"wakeup = [{ of = \"left\", p98 = \"1ms\" }]", "unknown key 'p98'"},
           Case{"ratio = [{ of = \"left\", to = \"right\" }]", "'ratio' without 'is'"},
           Case{"ratio = [{ of = \"left\", to = \"right\", is = 0 }]", "expected a number from"},
           Case{"ratio = [{ of = \"left\", to = \"right\", is = 1, phase = 1 }]",
                "1 is out of range; expected 0 to 0"},
           Case{"scx_events = [{ name = \"a b\", max = 0 }]", "expected a counter such as"},
           Case{"max_imbalance = -1", "expected a number from 0 to 1000"},
           Case{"max_varation = 1", "did you mean 'max_variation'"},
       }) {
    const std::string error = ErrorOf(With("isolation = true", c.line));
    EXPECT_TRUE(absl::StrContains(error, c.says)) << c.line << ": " << error;
  }
}

TEST(ParseScenarioTest, FirstMistakeOfTheFileIsReported) {
  std::string text = With("weight = 50", "weight = 0");
  text.replace(text.find("isolation = true"), 16, "isolation = 1   ");

  EXPECT_EQ(ErrorOf(text), "dir/x.toml:11:10: 'weight': 0 is out of range; expected 1 to 10000");
}

TEST(ParseScenarioTest, ValuesOfTheWrongKindAreRefused) {
  struct Case {
    const char* from;
    const char* to;
    const char* says;
  };
  for (const Case& c : {
           Case{"summary = \"s\"", "summary = 1", "expected a string, found an integer"},
           Case{"cpus = \"half:0\"", "cpus = \"half:2\"", "halves are half:0 and half:1"},
           Case{"\"cpu_spin\"", "\"cpu_spn\"", "did you mean 'cpu_spin'?"},
           Case{"workers = 4", "workers = 0", "out of range"},
           Case{"workers = 4", "workers = 513", "out of range"},
           Case{"workers = 4", "workers = \"4\"", "expected an integer"},
           Case{"nice = 5", "nice = 20", "out of range"},
           Case{"nice = 5", "rt_priority = 5", "needs policy"},
           Case{"\"fifo\"", "\"fofi\"", "unknown word 'fofi'"},
           Case{"\"fifo\"", "\"fifo\", rt_priority = 50", "out of range"},
           Case{"\"50ms/100ms\"", "\"50%\"", "expected CPU time per period"},
           Case{"\"right\"", "\"left\"", "there is a cgroup 'left' already"},
           Case{"\"right\"", "\"ri ght\"", "expected 1 to 64 letters"},
           Case{"name = \"right\"\n", "", "[[cgroup]] without 'name'"},
           Case{"0.15", "15", "from 0 to 1"},
           Case{"0.15", "nan", "from 0 to 1"},
           Case{"\"2s\"", "\"0s\"", "longer than 0"},
           Case{"min_iterations = 1000", "min_iterations = -1", "out of range"},
           Case{"\"max_gap\"", "\"gap\"", "is no expectation"},
           Case{"duration = \"10s\"\n", "", "no 'duration'"},
           Case{"duration = \"10s\"", "duration = \"25h\"", "at most 24 hours"},
       }) {
    const std::string error = ErrorOf(With(c.from, c.to));
    EXPECT_TRUE(absl::StrContains(error, c.says)) << c.to << ": " << error;
    EXPECT_TRUE(absl::StartsWith(error, "dir/x.toml:")) << error;
  }
}

TEST(ParseScenarioTest, ScenarioThatExpectsNothingIsRefused) {
  const std::string text =
      "duration = \"1s\"\n[[cgroup]]\nname = \"a\"\nwork = [{ kind = \"cpu_spin\" }]\n";

  EXPECT_TRUE(absl::StrContains(ErrorOf(text), "nothing is expected")) << ErrorOf(text);
}

TEST(ParseScenarioTest, ScenarioWithoutWorkIsRefused) {
  EXPECT_TRUE(
      absl::StrContains(ErrorOf("duration = \"1s\"\n[expect]\nisolation = true\n"), "no work"));
}

TEST(LoadScenarioTest, ScenariosThatComeWithTheProgramAreGood) {
  int found = 0;
  for (const auto& entry : std::filesystem::directory_iterator("testdata/scenarios")) {
    if (entry.path().extension() != ".toml") continue;
    ++found;
    auto scenario = LoadScenario(entry.path());
    ASSERT_TRUE(scenario.ok()) << scenario.status();
    EXPECT_EQ(scenario->name, entry.path().stem());
    EXPECT_FALSE(scenario->summary.empty()) << scenario->name;
  }
  EXPECT_GE(found, 2);
}

TEST(LoadScenarioTest, MissingFileIsNamed) {
  EXPECT_EQ(LoadScenario("/nowhere/x.toml").status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace stasis
