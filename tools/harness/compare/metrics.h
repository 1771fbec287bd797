// Metrics: the figures of one run that can be compared with those of another.
#ifndef STASIS_TOOLS_HARNESS_COMPARE_METRICS_H_
#define STASIS_TOOLS_HARNESS_COMPARE_METRICS_H_

#include <string>
#include <vector>

#include "nlohmann/json.hpp"

namespace stasis {

enum class Better { kLower, kHigher, kNeither };
enum class MetricUnit { kNanoseconds, kPerSecond, kShare, kCpus };

// What is measured, of whatever group of workers.
struct MetricKind {
  const char* name;  // "max_gap"
  const char* text;  // "longest gap"
  MetricUnit unit;
  Better better;
  // Changes below this share may be the measure's own coarseness: a histogram's buckets are 1/16
  // wide.
  double resolution = 0;
  const char* what;  // one line for the manual
};

// All there are; docs/scenarios.md has the list.
const std::vector<MetricKind>& MetricKinds();
// The kind of that name; nullptr without one.
const MetricKind* FindMetricKind(const std::string& name);

struct Metric {
  const MetricKind* kind;
  std::string group;  // "left cpu_spin": cgroup, kind, role; with a number if that is not unique
  double value;       // in the kind's unit
};

// The figures of a document that JsonReport made, group by group. Of a run without a measured time
// or without workers: none. What a document lacks (it may be older, or come from anywhere) is left
// out; nothing here throws.
std::vector<Metric> MetricsOf(const nlohmann::json& document);

// The key figures of a whole run for one line of a table; negative: not measured.
struct KeyFigures {
  double iterations_per_s = -1;
  double max_gap_ns = -1;
  double spread = -1;         // the worst of all groups
  double wakeup_p99_ns = -1;  // the worst of all groups
};
KeyFigures KeyFiguresOf(const std::vector<Metric>& metrics);

// "51.3 ms", "1,234/s", "0.123", "1.50 CPUs".
std::string MetricText(MetricUnit unit, double value);

}  // namespace stasis

#endif  // STASIS_TOOLS_HARNESS_COMPARE_METRICS_H_
