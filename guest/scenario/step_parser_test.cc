#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "gtest/gtest.h"
#include "guest/scenario/parser.h"

namespace stasis {
namespace {

constexpr char kHead[] = R"(duration = "10s"
[scheduler]
name = "scx_simple"
[[cgroup]]
name = "left"
cpus = "half:0"
work = [{ kind = "cpu_spin", name = "hogs", workers = 2 }]
[[cgroup]]
name = "right"
cpus = "half:1"
work = [{ kind = "cpu_spin", name = "late", at_start = false }]
[[cgroup]]
name = "guest"
at_start = false
work = [{ kind = "yield" }]
[[cgroup]]
name = "tree"
[[cgroup]]
name = "tree/leaf"
[expect]
isolation = true
)";
constexpr int kHeadLines = 21;

CpuGroups TwoCpus() {
  CpuGroups groups;
  groups.online = CpuSet::Of({0, 1});
  groups.llcs = groups.nodes = {groups.online};
  return groups;
}

std::string Step(const std::string& at, const std::string& actions) {
  return absl::StrCat("[[step]]\nat = \"", at, "\"\ndo = [", actions, "]\n");
}

// All errors, without "x.toml:", one a line; "" for none.
std::string ErrorsOf(const std::string& steps) {
  const CpuGroups groups = TwoCpus();
  return absl::StrReplaceAll(
      absl::StrJoin(CheckScenario(absl::StrCat(kHead, steps), "x.toml", &groups), "\n"),
      {{"x.toml:", ""}});
}

Scenario Good(const std::string& steps) {
  auto scenario = ParseScenario(absl::StrCat(kHead, steps), "x.toml");
  EXPECT_TRUE(scenario.ok()) << scenario.status();
  return scenario.ok() ? *scenario : Scenario();
}

TEST(StepParserTest, TimesArePartsOfTheDurationOrTimes) {
  const Scenario scenario = Good(Step("25%", "{ stop_work = \"hogs\" }") +
                                 Step("3500ms", "{ start_work = \"hogs\" }"));

  ASSERT_EQ(scenario.steps.size(), 2u);
  EXPECT_EQ(scenario.steps[0].at, absl::Milliseconds(2500));
  EXPECT_EQ(scenario.steps[1].at, absl::Milliseconds(3500));
  EXPECT_EQ(WorkerCount(scenario), 4u);  // the hogs twice
}

TEST(StepParserTest, EveryActionIsRead) {
  const Scenario scenario = Good(Step(
      "50%",
      "{ set_cpus = \"left\", to = \"half:1\" }, { set_weight = \"left\", to = 200 },"
      "{ set_max = \"left\", to = \"20ms/100ms\" }, { set_max = \"left\", to = \"max\" },"
      "{ set_memory_max = \"left\", to = \"64M\" }, { add_cgroup = \"guest\" },"
      "{ remove_cgroup = \"guest\" }, { freeze_cgroup = \"left\" }, { thaw_cgroup = \"left\" },"
      "{ start_work = \"late\" }, { move_work = \"late\", to = \"left\" }, { stop_work = \"late\" },"
      "{ unplug_cpus = \"1\" }, { plug_cpus = \"1\" }, { run = [\"/bin/true\", \"x\"] },"
      "{ snapshot = \"here\" }, { switch_scheduler = [\"scx_simple\"] },"
      "{ restart_scheduler = true }"));

  ASSERT_EQ(scenario.steps.size(), 1u);
  EXPECT_EQ(
      StepText(scenario.steps[0]),
      "set_cpus left to half:1; set_weight left to 200; set_max left to 20ms/100ms; set_max left to "
      "max; set_memory_max left to 64M; add_cgroup guest; remove_cgroup guest; freeze_cgroup left; "
      "thaw_cgroup left; start_work late; move_work late to left; stop_work late; unplug_cpus 1; "
      "plug_cpus 1; run /bin/true x; snapshot here; switch_scheduler scx_simple; restart_scheduler");
  EXPECT_EQ(ProgramsOf(scenario), std::vector<std::string>{"/bin/true"});
}

TEST(StepParserTest, SchedulersOfStepsAreNamesOrPathsFromTheFile) {
  auto scenario = ParseScenario(
      absl::StrCat(kHead, Step("25%", "{ switch_scheduler = [\"scx_qmap\", \"-v\"] }"),
                   Step("50%", "{ switch_scheduler = [\"./mine\"] }")),
      "dir/x.toml");
  ASSERT_TRUE(scenario.ok()) << scenario.status();

  const std::vector<SchedulerSpec*> schedulers = SchedulersOf(&*scenario);

  ASSERT_EQ(schedulers.size(), 3u);
  EXPECT_EQ(schedulers[0]->name, "scx_simple");
  EXPECT_EQ(schedulers[1]->name, "scx_qmap");
  EXPECT_EQ(schedulers[1]->args, std::vector<std::string>{"-v"});
  EXPECT_EQ(schedulers[2]->path, "dir/./mine");
}

TEST(StepParserTest, SchedulerIsNotSwitchedWhereThereIsNone) {
  const std::string text =
      absl::StrReplaceAll(absl::StrCat(kHead, Step("25%", "{ restart_scheduler = true }")),
                          {{"[scheduler]\nname = \"scx_simple\"\n", ""}});

  const std::vector<std::string> errors = CheckScenario(text, "x.toml");

  ASSERT_EQ(errors.size(), 1u);
  EXPECT_TRUE(absl::StrContains(errors[0], "the scenario has no scheduler")) << errors[0];
}

TEST(StepParserTest, ScenarioSurvivesTheWire) {
  const Scenario scenario = Good(Step("50%", "{ set_max = \"left\", to = \"max\" }"));

  Scenario copy;
  ASSERT_TRUE(fields::FromJson(fields::ToJson(scenario), &copy).ok());
  EXPECT_EQ(fields::ToJson(copy), fields::ToJson(scenario));
}

TEST(StepParserTest, MistakesArePointedAt) {
  struct Case {
    std::string steps;
    std::string says;  // with line (counted from the first step) and column
  };
  for (const Case& c : {
           Case{Step("50%", "{ set_cpus = \"lefd\", to = \"0\" }"),
                "3:20: 'set_cpus': there is no cgroup 'lefd'; did you mean 'left'?; expected left, "
                "right, guest, tree, tree/leaf"},
           Case{Step("50%", "{ stop_work = \"hog\" }"),
                "3:21: 'stop_work': there is no work with the name 'hog'; did you mean 'hogs'?; "
                "expected hogs, late"},
           Case{Step("50%", "{ set_cpu = \"left\", to = \"0\" }"),
                "3:9: unknown action 'set_cpu'; did you mean 'set_cpus'"},
           Case{Step("50%", "{ to = \"0\" }"), "3:7: an action without its name"},
           Case{Step("50%", "{ set_cpus = \"left\", thaw_cgroup = \"left\" }"),
                "3:42: 'thaw_cgroup' and 'set_cpus' in one action"},
           Case{Step("50%", "{ set_cpus = \"left\" }"), "3:7: set_cpus without 'to'"},
           Case{Step("50%", "{ thaw_cgroup = \"left\", to = 1 }"),
                "3:36: 'to' does not belong to thaw_cgroup"},
           Case{Step("50%", "{ set_weight = \"left\", to = 0 }"), "0 is out of range"},
           Case{Step("50%", "{ set_max = \"left\", to = \"5\" }"), "expected CPU time per period"},
           Case{Step("50%", "{ set_memory_max = \"left\", to = 5 }"), "a number without a unit"},
           Case{Step("50%", "{ set_cpus = \"left\", to = \"2\" }"),
                "3:7: set_cpus: CPUs 2 are not online; this machine has 0-1"},
           Case{Step("50%", "{ restart_scheduler = false }"), "expected true"},
           Case{Step("50%", "{ run = [\"true\"] }"), "a path from the root"},
           Case{Step("50%", "{ run = [] }"), "expected 1 to 64 words"},
           Case{Step("50%", ""), "3:6: 'do': empty"},
           Case{Step("50%", "1"), "3:7: 'do': expected a table, found an integer"},
           Case{"[[step]]\nat = \"1s\"\n", "1:1: [[step]] without 'do'"},
           Case{"[[step]]\ndo = [{ stop_work = \"hogs\" }]\n", "1:1: [[step]] without 'at'"},
           Case{Step("0s", "{ stop_work = \"hogs\" }"), "2:6: 'at': 0 is not within the run"},
           Case{Step("10s", "{ stop_work = \"hogs\" }"), "2:6: 'at': 10s is not within the run"},
           Case{Step("100%", "{ stop_work = \"hogs\" }"), "expected more than 0%"},
           Case{Step("-5%", "{ stop_work = \"hogs\" }"), "expected more than 0%"},
           Case{Step("nan%", "{ stop_work = \"hogs\" }"), "expected more than 0%"},
           Case{Step("5s", "{ stop_work = \"hogs\" }") + Step("4s", "{ start_work = \"hogs\" }"),
                "5:6: 'at': 4s comes before 5s of the step at line 22"},
           Case{Step("5s", "{ stop_work = \"hogs\" }") + Step("50%", "{ start_work = \"hogs\" }"),
                "5:6: 'at': 5s is the time of the step at line 22 as well"},
       }) {
    std::string says = c.says;
    // Lines count from the first step in the table above.
    const size_t colon = says.find(':');
    if (absl::ascii_isdigit(static_cast<unsigned char>(says[0])) && colon != std::string::npos &&
        absl::ascii_isdigit(static_cast<unsigned char>(says[colon + 1]))) {
      says = absl::StrCat(std::stoi(says) + kHeadLines, says.substr(colon));
    }
    EXPECT_TRUE(absl::StrContains(ErrorsOf(c.steps), says)) << says << "\n" << ErrorsOf(c.steps);
  }
}

TEST(StepParserTest, WhatMakesNoSenseAtItsTimeIsRefused) {
  struct Case {
    std::string steps;
    const char* says;
  };
  for (const Case& c : {
           Case{Step("1s", "{ thaw_cgroup = \"left\" }"), "cgroup 'left' is not frozen"},
           Case{Step("1s", "{ freeze_cgroup = \"left\" }") +
                    Step("2s", "{ freeze_cgroup = \"left\" }"),
                "cgroup 'left' is frozen already"},
           Case{Step("1s", "{ set_weight = \"guest\", to = 5 }"),
                "cgroup 'guest' is not there at that time"},
           Case{Step("1s", "{ remove_cgroup = \"guest\" }"), "is not there at that time"},
           Case{Step("1s", "{ add_cgroup = \"left\" }"), "cgroup 'left' is there already"},
           Case{Step("1s", "{ remove_cgroup = \"tree\" }"), "has cgroups below it"},
           Case{Step("1s", "{ remove_cgroup = \"tree/leaf\" }, { remove_cgroup = \"tree\" }") +
                    Step("2s", "{ add_cgroup = \"tree/leaf\" }"),
                "cgroup 'tree' is not there at that time"},
           Case{Step("1s", "{ stop_work = \"late\" }"), "work 'late' does not run at that time"},
           Case{Step("1s", "{ start_work = \"hogs\" }"), "work 'hogs' runs already"},
           Case{Step("1s", "{ remove_cgroup = \"left\" }") + Step("2s", "{ stop_work = \"hogs\" }"),
                "work 'hogs' does not run at that time"},
           Case{Step("1s", "{ move_work = \"hogs\", to = \"left\" }"), "is in 'left' already"},
           Case{Step("1s", "{ move_work = \"hogs\", to = \"tree\" }"), "leaves only"},
           Case{Step("1s", "{ unplug_cpus = \"0\" }"), "CPU 0 cannot be unplugged"},
           Case{Step("1s", "{ unplug_cpus = \"all\" }"), "CPU 0 cannot be unplugged"},
           Case{Step("1s", "{ unplug_cpus = \"1\" }, { unplug_cpus = \"1\" }"),
                "CPU 1 is unplugged already"},
           Case{Step("1s", "{ plug_cpus = \"1\" }"), "CPU 1 is not unplugged"},
           Case{Step("1s", "{ set_cpus = \"tree\", to = \"0\" }") +
                    Step("2s", "{ set_cpus = \"tree/leaf\", to = \"1\" }"),
                "CPUs 1 of 'tree/leaf' are none of those of 'tree', 0"},
       }) {
    EXPECT_TRUE(absl::StrContains(ErrorsOf(c.steps), c.says)) << c.says << "\n"
                                                              << ErrorsOf(c.steps);
  }
}

TEST(StepParserTest, ConsequencesOfARefusedActionAreNotReported) {
  const std::string errors = ErrorsOf(Step("1s", "{ freeze_cgroup = \"lefd\" }") +
                                      Step("2s", "{ thaw_cgroup = \"left\" }"));

  EXPECT_EQ(std::count(errors.begin(), errors.end(), '\n'), 0) << errors;
}

TEST(StepParserTest, SpreadNeedsAQuietSecond) {
  std::string text = absl::StrReplaceAll(absl::StrCat(kHead, Step("1s", "{ stop_work = \"hogs\" }"),
                                                      Step("2s", "{ start_work = \"hogs\" }")),
                                         {{"isolation = true", "max_spread = 0.5"},
                                          {"\"10s\"", "\"2500ms\""}});
  EXPECT_TRUE(CheckScenario(text, "x.toml").empty());

  text = absl::StrReplaceAll(text, {{"\"1s\"", "\"900ms\""}, {"\"2s\"", "\"1900ms\""}});

  const std::vector<std::string> errors = CheckScenario(text, "x.toml");
  ASSERT_EQ(errors.size(), 1u);
  EXPECT_TRUE(absl::StrContains(errors[0], "steps change something all the time")) << errors[0];
}

TEST(StepParserTest, TooManyWorkersOverAllStartsAreRefused) {
  std::string steps;
  for (int i = 0; i < 180; ++i) {
    absl::StrAppend(&steps, Step(absl::StrCat(i * 20 + 10, "ms"), "{ stop_work = \"hogs\" }"),
                    Step(absl::StrCat(i * 20 + 20, "ms"), "{ start_work = \"hogs\" }"));
  }
  EXPECT_TRUE(absl::StrContains(ErrorsOf(steps), "360 steps; at most 200")) << ErrorsOf(steps);
}

TEST(CheckScenarioTest, AllMistakesAreReportedByTheirPlaces) {
  const CpuGroups groups = TwoCpus();
  const std::vector<std::string> errors = CheckScenario(R"(duration = 10
[expect]
max_gap = "0s"
should_fail = "gap"
[[cgroup]]
name = "a"
weight = 0
cpus = "7"
work = [{ kind = "cpu_spn" }, { kind = "cpu_spin", workers = 0, cpus = "9" }]
)",
                                                        "x.toml", &groups);

  ASSERT_EQ(errors.size(), 7u) << absl::StrJoin(errors, "\n");
  EXPECT_TRUE(absl::StartsWith(errors[0], "x.toml:1:12: 'duration'")) << errors[0];
  EXPECT_TRUE(absl::StartsWith(errors[1], "x.toml:3:11: 'max_gap'")) << errors[1];
  EXPECT_TRUE(absl::StartsWith(errors[2], "x.toml:4:15: 'should_fail'")) << errors[2];
  EXPECT_TRUE(absl::StartsWith(errors[3], "x.toml:7:10: 'weight'")) << errors[3];
  EXPECT_TRUE(absl::StartsWith(errors[4], "x.toml:8:8: 'cpus': ")) << errors[4];
  EXPECT_TRUE(absl::StartsWith(errors[5], "x.toml:9:18: 'kind'")) << errors[5];
  EXPECT_TRUE(absl::StartsWith(errors[6], "x.toml:9:62: 'workers'")) << errors[6];
}

}  // namespace
}  // namespace stasis
