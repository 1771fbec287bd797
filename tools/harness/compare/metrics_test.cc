#include "tools/harness/compare/metrics.h"

#include <map>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace stasis {
namespace {

using nlohmann::json;
using ::testing::DoubleNear;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

json Worker(const std::string& cgroup, int work, const std::string& kind) {
  return {{"cgroup", cgroup},     {"work", work},          {"kind", kind},
          {"role", ""},           {"iterations", 1000},    {"run_ns", 1'000'000'000},
          {"max_gap_ns", 50'000}, {"migrations", 4},       {"wakeup", ""},
          {"response", ""},       {"run_delay_ns", 500'000'000}};
}

json Document(const std::vector<json>& workers) {
  return {{"start_ns", 1'000'000'000}, {"end_ns", 3'000'000'000}, {"workers", workers}};
}

std::map<std::string, double> ByName(const std::vector<Metric>& metrics) {
  std::map<std::string, double> values;
  for (const Metric& metric : metrics) values[metric.group + ": " + metric.kind->name] = metric.value;
  return values;
}

TEST(MetricsTest, EveryKindHasItsOwnName) {
  std::map<std::string, int> names;
  for (const MetricKind& kind : MetricKinds()) ++names[kind.name];
  EXPECT_EQ(names.size(), MetricKinds().size());
  for (const auto& [name, times] : names) EXPECT_NE(FindMetricKind(name), nullptr);
  EXPECT_EQ(FindMetricKind("no such"), nullptr);
}

TEST(MetricsTest, WorkersOfAGroupAreTakenTogether) {
  json slow = Worker("left", 0, "cpu_spin");
  slow["run_ns"] = 750'000'000;
  slow["iterations"] = 500;
  slow["max_gap_ns"] = 90'000;

  const auto values = ByName(MetricsOf(Document({Worker("left", 0, "cpu_spin"), slow})));

  EXPECT_DOUBLE_EQ(values.at("left cpu_spin: iterations"), 750);  // 1500 in two seconds
  EXPECT_DOUBLE_EQ(values.at("left cpu_spin: max_gap"), 90'000);
  EXPECT_DOUBLE_EQ(values.at("left cpu_spin: spread"), 0.25);
  EXPECT_DOUBLE_EQ(values.at("left cpu_spin: cpu_time"), 0.875);
  EXPECT_DOUBLE_EQ(values.at("left cpu_spin: migrations"), 4);
  EXPECT_DOUBLE_EQ(values.at("left cpu_spin: run_delay"), 0.25);
  EXPECT_EQ(values.count("left cpu_spin: wakeup_p50"), 0u);
}

TEST(MetricsTest, GroupsThatDifferInNothingElseAreCounted) {
  json other_role = Worker("a", 2, "schbench");
  other_role["role"] = "messenger";
  std::vector<std::string> groups;
  for (const Metric& metric :
       MetricsOf(Document({Worker("a", 0, "bursty"), Worker("a", 1, "bursty"),
                           Worker("a", 2, "schbench"), other_role}))) {
    if (groups.empty() || groups.back() != metric.group) groups.push_back(metric.group);
  }

  EXPECT_THAT(groups, UnorderedElementsAre("a bursty (work 0)", "a bursty (work 1)", "a schbench",
                                           "a schbench messenger"));
}

TEST(MetricsTest, PercentilesLieWithinTheirBucket) {
  json worker = Worker("a", 0, "timer_wake");
  // Buckets 100 and 101 begin at 640 and 672 ns; the first half of all times fills the first one.
  worker["wakeup"] = "100:50 101:50";

  const auto values = ByName(MetricsOf(Document({worker})));

  EXPECT_DOUBLE_EQ(values.at("a timer_wake: wakeup_p50"), 672);
  EXPECT_THAT(values.at("a timer_wake: wakeup_p99"), DoubleNear(704, 1.0));
}

TEST(MetricsTest, SingleWorkerHasNoSpread) {
  EXPECT_EQ(ByName(MetricsOf(Document({Worker("a", 0, "yield")}))).count("a yield: spread"), 0u);
}

TEST(MetricsTest, DocumentsOfAnyShapeAreNoReasonToThrow) {
  EXPECT_THAT(MetricsOf(json::array()), IsEmpty());
  EXPECT_THAT(MetricsOf(json::object()), IsEmpty());
  EXPECT_THAT(MetricsOf({{"workers", 3}, {"end_ns", 5}}), IsEmpty());
  EXPECT_THAT(MetricsOf({{"workers", {1, "x"}}, {"start_ns", "x"}, {"end_ns", 5}}), IsEmpty());
  json odd = Worker("a", 0, "yield");
  odd["wakeup"] = "no histogram";
  odd["iterations"] = "many";
  EXPECT_EQ(ByName(MetricsOf(Document({odd}))).at("a yield: iterations"), 0);
}

TEST(KeyFiguresTest, SumsAndWorstOfAllGroups) {
  json left = Worker("left", 0, "timer_wake");
  left["wakeup"] = "100:10";
  json right = Worker("right", 0, "timer_wake");
  right["wakeup"] = "200:10";
  right["max_gap_ns"] = 123;

  const KeyFigures figures = KeyFiguresOf(MetricsOf(Document({left, right})));

  EXPECT_DOUBLE_EQ(figures.iterations_per_s, 1000);
  EXPECT_DOUBLE_EQ(figures.max_gap_ns, 50'000);
  EXPECT_EQ(figures.spread, -1);
  EXPECT_GT(figures.wakeup_p99_ns, 40'000);
}

TEST(MetricTextTest, UnitsAreReadable) {
  EXPECT_EQ(MetricText(MetricUnit::kNanoseconds, 512), "512 ns");
  EXPECT_EQ(MetricText(MetricUnit::kNanoseconds, 51'300'000), "51.3 ms");
  EXPECT_EQ(MetricText(MetricUnit::kPerSecond, 1234567), "1,234,567/s");
  EXPECT_EQ(MetricText(MetricUnit::kPerSecond, 2.5), "2.5/s");
  EXPECT_EQ(MetricText(MetricUnit::kShare, 0.12345), "0.123");
  EXPECT_EQ(MetricText(MetricUnit::kCpus, 1.5), "1.50 CPUs");
}

}  // namespace
}  // namespace stasis
