// Comparison: two sets of runs, metric by metric: what has changed, and what has become worse.
#ifndef STASIS_TOOLS_HARNESS_COMPARE_COMPARISON_H_
#define STASIS_TOOLS_HARNESS_COMPARE_COMPARISON_H_

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"
#include "tools/harness/compare/metrics.h"
#include "tools/harness/compare/statistics.h"

namespace stasis {

// All runs of one file.
struct RunsFile {
  std::string path;
  std::vector<nlohmann::json> runs;  // documents of single runs
};

// `text`: what `stasis run --json` wrote, of one run or of several. Errors: InvalidArgument (no
// JSON, no such document, without runs) with the path and what to do.
absl::StatusOr<RunsFile> ParseRuns(const std::string& path, const std::string& text);

struct CompareOptions {
  double confidence = 0.95;
  double threshold = 0.05;  // share by which a metric must change to be of interest
};

enum class Change {
  kSame,     // no more than chance, or too small to be of interest
  kWorse,    // a regression
  kBetter,
  kChanged,  // of a metric of which neither more nor less is better
};

struct MetricComparison {
  const MetricKind* kind;
  std::string group;
  size_t count_a = 0;
  size_t count_b = 0;
  double mean_a = 0;  // geometric where `relative`
  double mean_b = 0;
  // (b - a) / a where all values are above 0; else b - a in the metric's unit.
  bool relative = true;
  double effect = 0;
  Interval interval;  // of the effect
  double p = 1;
  Change change = Change::kSame;
};

struct ScenarioComparison {
  std::string name;
  // By verdict ("pass", ...), of all runs.
  std::map<std::string, size_t> verdicts_a;
  std::map<std::string, size_t> verdicts_b;
  bool fails_anew = false;         // some of b failed and none of a: a regression as well
  std::vector<std::string> notes;  // what makes it less comparable, or kept it from being compared
  std::vector<MetricComparison> metrics;
};

struct Comparison {
  CompareOptions options;
  std::string path_a, path_b;
  std::string about_a, about_b;  // "5 runs, 6.12.9, 1n1l2c1t, nested"
  std::vector<ScenarioComparison> scenarios;
  std::vector<std::string> notes;
  size_t metrics = 0;
  size_t regressions = 0;
  size_t improvements = 0;
};

// Runs are matched by their scenario's name. Of each scenario the runs are taken that have a
// measured time and passed or failed: one that was inconclusive says nothing, by its own verdict.
//
// A metric has changed if Welch's test says so at 1 - confidence, after Benjamini's and Hochberg's
// correction for the number of all metrics compared, and by more than the threshold (and than the
// metric's own resolution). Where all values are above 0 (nearly always) their logarithms are
// compared, since a scheduler's figures differ by factors: the effect is the ratio of geometric
// means, less 1.
//
// Errors: InvalidArgument if no scenario is in both files with two runs or more in each.
absl::StatusOr<Comparison> Compare(const RunsFile& a, const RunsFile& b,
                                   const CompareOptions& options);

// The first line says how it came out. Ends in a newline.
std::string ComparisonText(const Comparison& comparison);
// "stasis.comparison/1", see docs/result-json.md.
nlohmann::json ComparisonJson(const Comparison& comparison);

}  // namespace stasis

#endif  // STASIS_TOOLS_HARNESS_COMPARE_COMPARISON_H_
