#include "tools/harness/compare/comparison.h"

#include <functional>
#include <random>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace stasis {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr double kSeconds = 2;

// The figures that a made run has.
struct Figures {
  double iterations_per_s = 1000;
  double max_gap_ns = 1e6;
  double migrations_per_s = 10;
};

json MakeRun(const Figures& figures, const std::string& verdict = "pass",
         const std::string& scenario = "steady") {
  return {{"format", "stasis.result/1"},
          {"verdict", verdict},
          {"scenario", {{"name", scenario}, {"duration_ns", 2'000'000'000}}},
          {"machine", {{"topology", "1n1l2c1t"}, {"kernel", "/boot/vmlinuz"}}},
          {"host", {{"lane", "kvm"}}},
          {"start_ns", 0},
          {"end_ns", 2'000'000'000},
          {"workers",
           {{{"cgroup", "left"},
             {"work", 0},
             {"kind", "cpu_spin"},
             {"iterations", figures.iterations_per_s * kSeconds},
             {"run_ns", 2'000'000'000},
             {"max_gap_ns", figures.max_gap_ns},
             {"migrations", figures.migrations_per_s * kSeconds}}}}};
}

// Runs whose figures scatter by `deviation` (a share) around those given.
RunsFile Scattered(const std::string& path, const Figures& figures, size_t count,
                   double deviation, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal(1, deviation);
  RunsFile file{.path = path};
  for (size_t i = 0; i < count; ++i) {
    file.runs.push_back(MakeRun({.iterations_per_s = figures.iterations_per_s * normal(random),
                             .max_gap_ns = figures.max_gap_ns * normal(random),
                             .migrations_per_s = figures.migrations_per_s * normal(random)}));
  }
  return file;
}

const MetricComparison* Find(const Comparison& comparison, const std::string& kind) {
  for (const ScenarioComparison& scenario : comparison.scenarios) {
    for (const MetricComparison& metric : scenario.metrics) {
      if (kind == metric.kind->name) return &metric;
    }
  }
  return nullptr;
}

TEST(CompareTest, SlowerIterationsAreARegressionWithItsSize) {
  const auto comparison = Compare(Scattered("a", {}, 8, 0.02, 1),
                                  Scattered("b", {.iterations_per_s = 800}, 8, 0.02, 2), {});

  ASSERT_TRUE(comparison.ok()) << comparison.status();
  EXPECT_EQ(comparison->regressions, 1u);
  const MetricComparison* metric = Find(*comparison, "iterations");
  ASSERT_NE(metric, nullptr);
  EXPECT_EQ(metric->change, Change::kWorse);
  EXPECT_NEAR(metric->effect, -0.2, 0.02);
  EXPECT_LT(metric->interval.low, -0.2 + 0.02);
  EXPECT_GT(metric->interval.high, -0.2 - 0.02);
  EXPECT_LT(metric->interval.high, -0.1);
}

TEST(CompareTest, LongerGapsAreARegressionAndShorterOnesBetter) {
  const RunsFile shorter = Scattered("a", {.max_gap_ns = 1e6}, 6, 0.05, 3);
  const RunsFile longer = Scattered("b", {.max_gap_ns = 2e6}, 6, 0.05, 4);

  EXPECT_EQ(Find(*Compare(shorter, longer, {}), "max_gap")->change, Change::kWorse);
  EXPECT_EQ(Find(*Compare(longer, shorter, {}), "max_gap")->change, Change::kBetter);
  EXPECT_EQ(Compare(longer, shorter, {})->regressions, 0u);
}

TEST(CompareTest, MigrationsOnlyChange) {
  const auto comparison = Compare(Scattered("a", {}, 6, 0.05, 5),
                                  Scattered("b", {.migrations_per_s = 40}, 6, 0.05, 6), {});

  ASSERT_TRUE(comparison.ok());
  EXPECT_EQ(Find(*comparison, "migrations")->change, Change::kChanged);
  EXPECT_EQ(comparison->regressions, 0u);
}

TEST(CompareTest, ChangeBelowTheThresholdIsNoneHoweverCertain) {
  const RunsFile a = Scattered("a", {}, 8, 0.0005, 7);
  const RunsFile b = Scattered("b", {.iterations_per_s = 970}, 8, 0.0005, 8);

  EXPECT_EQ(Compare(a, b, {})->regressions, 0u);
  EXPECT_EQ(Compare(a, b, {.threshold = 0.01})->regressions, 1u);
}

// The same distribution twice, two hundred times: what Benjamini-Hochberg promises at 0.05 is ten.
TEST(CompareTest, EqualDistributionsRaiseNoMoreAlarmsThanPromised) {
  int alarms = 0;
  for (unsigned i = 0; i < 200; ++i) {
    const auto comparison = Compare(Scattered("a", {}, 5, 0.1, 1000 + i),
                                    Scattered("b", {}, 5, 0.1, 5000 + i), {.threshold = 0});
    ASSERT_TRUE(comparison.ok());
    alarms += comparison->regressions + comparison->improvements > 0;
  }

  EXPECT_LE(alarms, 18);
}

TEST(CompareTest, ValuesOfZeroAreComparedByTheirDifference) {
  RunsFile a{.path = "a", .runs = {MakeRun({.migrations_per_s = 0}), MakeRun({.migrations_per_s = 0})}};
  RunsFile b{.path = "b", .runs = {MakeRun({.migrations_per_s = 2}), MakeRun({.migrations_per_s = 4})}};

  const auto comparison = Compare(a, b, {});

  ASSERT_TRUE(comparison.ok());
  const MetricComparison* metric = Find(*comparison, "migrations");
  EXPECT_FALSE(metric->relative);
  EXPECT_DOUBLE_EQ(metric->effect, 3);
}

TEST(CompareTest, FailuresThatAreNewAreARegression) {
  RunsFile a{.path = "a", .runs = {MakeRun({}), MakeRun({})}};
  RunsFile b{.path = "b", .runs = {MakeRun({}), MakeRun({}, "fail")}};

  const auto comparison = Compare(a, b, {});

  ASSERT_TRUE(comparison.ok());
  EXPECT_TRUE(comparison->scenarios[0].fails_anew);
  EXPECT_EQ(comparison->regressions, 1u);
  EXPECT_THAT(ComparisonText(*comparison),
              StartsWith("REGRESSION: 1 of 5 metrics and verdicts are worse in B; most: steady "
                         "fails in 1 of B's runs and in none of A's"));
  EXPECT_FALSE(Compare(b, a, {})->scenarios[0].fails_anew);
}

TEST(CompareTest, InconclusiveRunsAreLeftOut) {
  RunsFile a = Scattered("a", {}, 3, 0.01, 9);
  a.runs.push_back(MakeRun({.iterations_per_s = 1}, "inconclusive"));

  const auto comparison = Compare(a, Scattered("b", {}, 3, 0.01, 10), {});

  ASSERT_TRUE(comparison.ok());
  EXPECT_EQ(Find(*comparison, "iterations")->count_a, 3u);
}

TEST(CompareTest, SingleRunsAreRefusedWithWhatToDo) {
  const auto comparison =
      Compare({.path = "a.json", .runs = {MakeRun({})}}, {.path = "b.json", .runs = {MakeRun({})}}, {});

  EXPECT_EQ(comparison.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(comparison.status().message()),
              AllOf(HasSubstr("1 of 1 runs in A"), HasSubstr("--repeat")));
}

TEST(CompareTest, FilesWithoutACommonScenarioAreRefused) {
  const auto comparison = Compare({.path = "a.json", .runs = {MakeRun({}), MakeRun({})}},
                                  {.path = "b.json", .runs = {MakeRun({}, "pass", "other")}}, {});

  EXPECT_THAT(std::string(comparison.status().message()), HasSubstr("no scenario in common"));
}

TEST(CompareTest, WhatIsOnlyInOneFileAndWhatDiffersIsNoted) {
  RunsFile a = Scattered("a", {}, 3, 0.01, 11);
  a.runs.push_back(MakeRun({}, "pass", "bursty"));
  RunsFile b = Scattered("b", {}, 3, 0.01, 12);
  for (json& run : b.runs) run["machine"]["topology"] = "1n1l4c1t";

  const auto comparison = Compare(a, b, {});

  ASSERT_TRUE(comparison.ok());
  const std::string text = ComparisonText(*comparison);
  EXPECT_THAT(text, HasSubstr("note: scenario bursty is only in A"));
  EXPECT_THAT(text, HasSubstr("note: the topology is not the same in all runs"));
}

TEST(CompareTest, SchedulersMayDifferAndAreNamedAnotherScenarioIsNoted) {
  RunsFile a = Scattered("a", {}, 3, 0.01, 13);
  RunsFile b = Scattered("b", {}, 3, 0.01, 14);
  for (json& run : b.runs) {
    run["scenario"]["scheduler"] = {{"name", "scx_simple"}};
    run["scheduler"] = {{"command", "scx_simple -v"}};
  }

  EXPECT_THAT(ComparisonText(*Compare(a, b, {})),
              AllOf(HasSubstr("kvm, scheduler scx_simple -v\n"), Not(HasSubstr("note:"))));

  b.runs[0]["scenario"]["duration_ns"] = 1;
  EXPECT_THAT(ComparisonText(*Compare(a, b, {})),
              HasSubstr("note: the scenario is not the same in all runs"));
}

TEST(CompareTest, TextAndJsonSayTheSame) {
  const auto comparison = Compare(Scattered("a.json", {}, 8, 0.02, 1),
                                  Scattered("b.json", {.iterations_per_s = 500}, 8, 0.02, 2), {});
  ASSERT_TRUE(comparison.ok());

  const std::string text = ComparisonText(*comparison);
  const json object = ComparisonJson(*comparison);

  EXPECT_THAT(text, StartsWith("REGRESSION: 1 of 5 metrics and verdicts are worse in B; most: "
                               "steady: left cpu_spin iterations -49% ["));
  EXPECT_THAT(text, HasSubstr("A  a.json: 8 runs, /boot/vmlinuz, 1n1l2c1t, kvm\n"));
  EXPECT_THAT(text, HasSubstr("95% interval"));
  EXPECT_THAT(text, ContainsRegex("left cpu_spin iterations .*\\]  *WORSE\n"));
  EXPECT_EQ(object["format"], "stasis.comparison/1");
  EXPECT_EQ(object["regressions"], 1);
  EXPECT_EQ(object["scenarios"][0]["metrics"][0]["change"], "worse");
  EXPECT_EQ(object["scenarios"][0]["metrics"][0]["better"], "higher");
}

TEST(ParseRunsTest, OneRunAndSeveralAreTaken) {
  EXPECT_EQ(ParseRuns("a", MakeRun({}).dump())->runs.size(), 1u);
  const json several = {{"format", "stasis.results/1"}, {"runs", {MakeRun({}), MakeRun({})}}};
  EXPECT_EQ(ParseRuns("a", several.dump())->runs.size(), 2u);
}

TEST(ParseRunsTest, WhatIsNoResultIsNamed) {
  const auto message = [](const std::string& text) {
    return std::string(ParseRuns("a.json", text).status().message());
  };

  EXPECT_THAT(message("{"), AllOf(StartsWith("a.json: not JSON"), HasSubstr("stasis run --json")));
  EXPECT_THAT(message("[]"), HasSubstr("it has no format"));
  EXPECT_THAT(message(R"({"format": "stasis.shell/1"})"), HasSubstr("'stasis.shell/1'"));
  EXPECT_THAT(message(R"({"format": "stasis.results/1"})"), HasSubstr("has no runs"));
  EXPECT_THAT(message(R"({"format": "stasis.results/1", "runs": [{}]})"),
              HasSubstr("run 1 is no result"));
  EXPECT_THAT(message(R"({"format": "stasis.results/1", "runs": []})"), HasSubstr("has no runs"));
}

}  // namespace
}  // namespace stasis
