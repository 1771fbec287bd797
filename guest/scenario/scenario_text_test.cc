#include "guest/scenario/scenario_text.h"

#include <filesystem>
#include <fstream>
#include <sstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "guest/scenario/parser.h"

namespace stasis {
namespace {

using testing::HasSubstr;

std::string Contents(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

TEST(ScenarioTextTest, EveryScenarioIsTheSameAfterBeingShown) {
  int found = 0;
  for (const auto& entry : std::filesystem::directory_iterator("testdata/scenarios")) {
    if (entry.path().extension() != ".toml") continue;
    ++found;
    auto scenario = LoadScenario(entry.path());
    ASSERT_TRUE(scenario.ok()) << scenario.status();

    const std::string text = ScenarioText(*scenario, nullptr);

    auto again = ParseScenario(text, entry.path().string());
    ASSERT_TRUE(again.ok()) << again.status() << "\n" << text;
    // Shown are defaults as well, so that they are written now.
    EXPECT_EQ(ScenarioText(*again, nullptr), text);
    for (CgroupSpec& cgroup : scenario->cgroups) cgroup.weight = cgroup.weight.value_or(100);
    EXPECT_EQ(fields::ToJson(*again), fields::ToJson(*scenario)) << text;
  }
  EXPECT_GE(found, 2);
}

TEST(ScenarioTextTest, CpusAreResolvedForAMachine) {
  Scenario scenario;
  scenario.name = "x";
  scenario.duration = absl::Seconds(4);
  scenario.cgroups = {{.name = "left", .cpus = "half:1", .work = {{.workers = 2}}}};
  CpuGroups groups;
  groups.online = *CpuSet::Parse("0-3");

  EXPECT_THAT(ScenarioText(scenario, &groups), HasSubstr("cpus = \"half:1\"  # CPUs 2-3\n"));
}

TEST(ScenarioReferenceTest, CommittedPageIsTheOneThatIsMade) {
  EXPECT_EQ(Contents("docs/scenario-reference.md"), ScenarioReference())
      << "bazel-bin/tools/stasis/stasis scenario reference > docs/scenario-reference.md";
}

TEST(ScenarioReferenceTest, EveryTableIsThere) {
  const std::string page = ScenarioReference();

  for (const char* part : {"| `min_cpus` |", "| `memory_max` |", "| `at_start` |", "| `cpu_spin` |",
                           "| `unplug_cpus` |", "| `max_imbalance` |"}) {
    EXPECT_THAT(page, HasSubstr(part));
  }
}

}  // namespace
}  // namespace stasis
