#include "tools/harness/compare/metrics.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <set>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "guest/scenario/histogram.h"

namespace stasis {
namespace {

using nlohmann::json;

constexpr double kBucket = 1.0 / (1 << Histogram::kSubBits);

double NumberOr(const json& object, const char* key, double otherwise) {
  const auto at = object.find(key);
  return at != object.end() && at->is_number() ? at->get<double>() : otherwise;
}

std::string TextOr(const json& object, const char* key) {
  const auto at = object.find(key);
  return at != object.end() && at->is_string() ? at->get<std::string>() : "";
}

Histogram HistogramOr(const json& object, const char* key) {
  absl::StatusOr<Histogram> histogram = Histogram::Parse(TextOr(object, key));
  return histogram.ok() ? *std::move(histogram) : Histogram();
}

// In a straight line within the bucket, so that a small change of many times is not nothing, and
// not a whole bucket either.
double Quantile(const Histogram& histogram, double quantile) {
  const double wanted = quantile * static_cast<double>(histogram.count());
  double seen = 0;
  double value = 0;
  for (const auto& [bucket, count] : histogram.counts()) {
    const double low = static_cast<double>(Histogram::Low(bucket));
    const double high = bucket + 1 >= Histogram::kBuckets
                            ? low
                            : static_cast<double>(Histogram::Low(bucket + 1));
    const double here = static_cast<double>(count);
    value = low + (high - low) * std::clamp((wanted - seen) / here, 0.0, 1.0);
    seen += here;
    if (seen >= wanted) break;
  }
  return value;
}

// Equal workers: of one entry of a cgroup's `work`, in one role.
struct Group {
  double workers = 0;
  double iterations = 0;
  double run_ns = 0;
  double least_run_ns = 0;
  double most_run_ns = 0;
  double migrations = 0;
  double max_gap_ns = 0;
  std::optional<double> run_delay_ns;
  Histogram wakeup;
  Histogram response;

  void Add(const json& worker) {
    const double run = NumberOr(worker, "run_ns", 0);
    least_run_ns = workers == 0 ? run : std::min(least_run_ns, run);
    most_run_ns = std::max(most_run_ns, run);
    ++workers;
    iterations += NumberOr(worker, "iterations", 0);
    run_ns += run;
    migrations += NumberOr(worker, "migrations", 0);
    max_gap_ns = std::max(max_gap_ns, NumberOr(worker, "max_gap_ns", 0));
    const double delay = NumberOr(worker, "run_delay_ns", -1);
    if (delay >= 0) run_delay_ns = run_delay_ns.value_or(0) + delay;
    wakeup.Merge(HistogramOr(worker, "wakeup"));
    response.Merge(HistogramOr(worker, "response"));
  }
};

// cgroup, index of the work in it, kind, role.
using GroupKey = std::tuple<std::string, int64_t, std::string, std::string>;

// The index is only of interest where nothing else tells two groups apart.
std::map<GroupKey, std::string> NamesOf(const std::map<GroupKey, Group>& groups) {
  const auto short_name = [](const GroupKey& key) {
    const auto& [cgroup, work, kind, role] = key;
    return absl::StrCat(cgroup, " ", kind, role.empty() ? "" : " ", role);
  };
  std::map<std::string, int> times;
  for (const auto& [key, group] : groups) ++times[short_name(key)];
  std::map<GroupKey, std::string> names;
  for (const auto& [key, group] : groups) {
    const std::string name = short_name(key);
    names[key] = times[name] == 1 ? name : absl::StrCat(name, " (work ", std::get<1>(key), ")");
  }
  return names;
}

void AddMetrics(const std::string& name, const Group& group, double window_ns,
                std::vector<Metric>* metrics) {
  const auto add = [&](const char* kind, double value) {
    metrics->push_back({FindMetricKind(kind), name, value});
  };
  add("iterations", group.iterations / window_ns * 1e9);
  add("max_gap", group.max_gap_ns);
  if (group.workers > 1 && group.most_run_ns > 0) {
    add("spread", (group.most_run_ns - group.least_run_ns) / group.most_run_ns);
  }
  if (!group.wakeup.empty()) {
    add("wakeup_p50", Quantile(group.wakeup, 0.5));
    add("wakeup_p99", Quantile(group.wakeup, 0.99));
    add("wakeup_p999", Quantile(group.wakeup, 0.999));
  }
  if (!group.response.empty()) {
    add("response_p50", Quantile(group.response, 0.5));
    add("response_p99", Quantile(group.response, 0.99));
    add("response_p999", Quantile(group.response, 0.999));
  }
  if (group.run_delay_ns.has_value()) {
    add("run_delay", *group.run_delay_ns / (group.workers * window_ns));
  }
  add("cpu_time", group.run_ns / window_ns);
  add("migrations", group.migrations / window_ns * 1e9);
}

std::string Grouped(double number) {
  std::string digits = absl::StrFormat("%.0f", number);
  for (size_t at = digits.size(); at > 3; at -= 3) digits.insert(at - 3, 1, ',');
  return digits;
}

std::string TimeText(double ns) {
  if (ns >= 1e9) return absl::StrFormat("%.2f s", ns / 1e9);
  if (ns >= 1e6) return absl::StrFormat("%.1f ms", ns / 1e6);
  if (ns >= 1e3) return absl::StrFormat("%.1f us", ns / 1e3);
  return absl::StrFormat("%.0f ns", ns);
}

}  // namespace

const std::vector<MetricKind>& MetricKinds() {
  static const std::vector<MetricKind>* const kinds = new std::vector<MetricKind>{
      {"iterations", "iterations", MetricUnit::kPerSecond, Better::kHigher, 0,
       "iterations of all workers of the group, per second"},
      {"max_gap", "longest gap", MetricUnit::kNanoseconds, Better::kLower, 0,
       "longest time that one of them was runnable without running"},
      {"spread", "spread", MetricUnit::kShare, Better::kLower, 0,
       "(most - least) / most of their CPU times"},
      {"wakeup_p50", "wake-up p50", MetricUnit::kNanoseconds, Better::kLower, kBucket,
       "from being woken until running, median"},
      {"wakeup_p99", "wake-up p99", MetricUnit::kNanoseconds, Better::kLower, kBucket,
       "99th percentile of the same"},
      {"wakeup_p999", "wake-up p99.9", MetricUnit::kNanoseconds, Better::kLower, kBucket,
       "99.9th percentile of the same"},
      {"response_p50", "response p50", MetricUnit::kNanoseconds, Better::kLower, kBucket,
       "from asking for something until it was done, median"},
      {"response_p99", "response p99", MetricUnit::kNanoseconds, Better::kLower, kBucket,
       "99th percentile of the same"},
      {"response_p999", "response p99.9", MetricUnit::kNanoseconds, Better::kLower, kBucket,
       "99.9th percentile of the same"},
      {"run_delay", "waiting", MetricUnit::kShare, Better::kLower, 0,
       "share of the time that a worker waited for a CPU (schedstat), mean"},
      {"cpu_time", "CPU time", MetricUnit::kCpus, Better::kNeither, 0,
       "CPU time of the group by the time of the run"},
      {"migrations", "migrations", MetricUnit::kPerSecond, Better::kNeither, 0,
       "changes of CPU, per second"},
  };
  return *kinds;
}

const MetricKind* FindMetricKind(const std::string& name) {
  for (const MetricKind& kind : MetricKinds()) {
    if (name == kind.name) return &kind;
  }
  return nullptr;
}

std::vector<Metric> MetricsOf(const json& document) {
  if (!document.is_object()) return {};
  const double window_ns = NumberOr(document, "end_ns", 0) - NumberOr(document, "start_ns", 0);
  const auto workers = document.find("workers");
  if (window_ns <= 0 || workers == document.end() || !workers->is_array()) return {};
  std::map<GroupKey, Group> groups;
  for (const json& worker : *workers) {
    if (!worker.is_object()) continue;
    groups[{TextOr(worker, "cgroup"), static_cast<int64_t>(NumberOr(worker, "work", 0)),
            TextOr(worker, "kind"), TextOr(worker, "role")}]
        .Add(worker);
  }
  const std::map<GroupKey, std::string> names = NamesOf(groups);
  std::vector<Metric> metrics;
  for (const auto& [key, group] : groups) AddMetrics(names.at(key), group, window_ns, &metrics);
  return metrics;
}

KeyFigures KeyFiguresOf(const std::vector<Metric>& metrics) {
  KeyFigures figures;
  for (const Metric& metric : metrics) {
    const std::string kind = metric.kind->name;
    if (kind == "iterations") {
      figures.iterations_per_s = std::max(0.0, figures.iterations_per_s) + metric.value;
    } else if (kind == "max_gap") {
      figures.max_gap_ns = std::max(figures.max_gap_ns, metric.value);
    } else if (kind == "spread") {
      figures.spread = std::max(figures.spread, metric.value);
    } else if (kind == "wakeup_p99") {
      figures.wakeup_p99_ns = std::max(figures.wakeup_p99_ns, metric.value);
    }
  }
  return figures;
}

std::string MetricText(MetricUnit unit, double value) {
  switch (unit) {
    case MetricUnit::kNanoseconds:
      return TimeText(value);
    case MetricUnit::kPerSecond:
      return value >= 100 ? absl::StrCat(Grouped(value), "/s") : absl::StrFormat("%.3g/s", value);
    case MetricUnit::kShare:
      return absl::StrFormat("%.3g", value);
    case MetricUnit::kCpus:
      return absl::StrFormat("%.2f CPUs", value);
  }
  return "";
}

}  // namespace stasis
