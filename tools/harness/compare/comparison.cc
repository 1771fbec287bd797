#include "tools/harness/compare/comparison.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace stasis {
namespace {

using nlohmann::json;

constexpr size_t kFewestRuns = 2;

// The text at `path` in nested objects; "" where there is none.
std::string TextAt(const json& document, std::initializer_list<const char*> path) {
  const json* at = &document;
  for (const char* key : path) {
    if (!at->is_object()) return "";
    const auto found = at->find(key);
    if (found == at->end()) return "";
    at = &*found;
  }
  return at->is_string() ? at->get<std::string>() : "";
}

std::string ScenarioOf(const json& run) {
  const std::string name = TextAt(run, {"run", "scenario"});
  return name.empty() ? TextAt(run, {"scenario", "name"}) : name;
}

using RunsByScenario = std::map<std::string, std::vector<const json*>>;

RunsByScenario ByScenario(const RunsFile& file) {
  RunsByScenario runs;
  for (const json& run : file.runs) runs[ScenarioOf(run)].push_back(&run);
  return runs;
}

std::string KernelOf(const json& run) {
  const std::string release = TextAt(run, {"guest", "kernel_release"});
  return release.empty() ? TextAt(run, {"machine", "kernel"}) : release;
}

// "a, b" of the different values; those that are not known are left out.
template <typename Reader>
std::string Distinct(const RunsFile& file, const Reader& reader) {
  std::set<std::string> values;
  for (const json& run : file.runs) values.insert(reader(run));
  values.erase("");
  return absl::StrJoin(values, "/");
}

std::string About(const RunsFile& file) {
  std::vector<std::string> parts = {
      absl::StrCat(file.runs.size(), file.runs.size() == 1 ? " run" : " runs"),
      Distinct(file, KernelOf),
      Distinct(file, [](const json& run) { return TextAt(run, {"machine", "topology"}); }),
      Distinct(file, [](const json& run) { return TextAt(run, {"host", "lane"}); })};
  const std::string scheduler =
      Distinct(file, [](const json& run) { return TextAt(run, {"scheduler", "command"}); });
  if (!scheduler.empty()) parts.push_back(absl::StrCat("scheduler ", scheduler));
  parts.erase(std::remove(parts.begin(), parts.end(), ""), parts.end());
  return absl::StrJoin(parts, ", ");
}

bool Usable(const json& run) {
  const std::string verdict = TextAt(run, {"verdict"});
  return verdict == "pass" || verdict == "fail";
}

// By group, then by kind, in the kinds' order.
struct MetricKey {
  std::string group;
  const MetricKind* kind;
  bool operator<(const MetricKey& other) const {
    return std::tie(group, kind) < std::tie(other.group, other.kind);
  }
};
using Samples = std::map<MetricKey, std::vector<double>>;

// Returns how many runs have figures.
size_t TakeSamples(const std::vector<const json*>& runs, Samples* samples) {
  size_t usable = 0;
  for (const json* run : runs) {
    if (!Usable(*run)) continue;
    const std::vector<Metric> metrics = MetricsOf(*run);
    usable += !metrics.empty();
    for (const Metric& metric : metrics) {
      (*samples)[{metric.group, metric.kind}].push_back(metric.value);
    }
  }
  return usable;
}

std::vector<double> Logarithms(const std::vector<double>& values) {
  std::vector<double> logarithms;
  for (double value : values) logarithms.push_back(std::log(value));
  return logarithms;
}

bool AllAboveZero(const std::vector<double>& values) {
  return std::all_of(values.begin(), values.end(), [](double value) { return value > 0; });
}

MetricComparison CompareSamples(const MetricKey& key, const std::vector<double>& a,
                                const std::vector<double>& b, double confidence) {
  MetricComparison metric{
      .kind = key.kind, .group = key.group, .count_a = a.size(), .count_b = b.size()};
  metric.relative = AllAboveZero(a) && AllAboveZero(b);
  if (!metric.relative) {
    const Difference difference = WelchDifference(a, b, confidence);
    metric.mean_a = Mean(a);
    metric.mean_b = Mean(b);
    metric.effect = difference.value;
    metric.interval = difference.interval;
    metric.p = difference.p;
    return metric;
  }
  const std::vector<double> log_a = Logarithms(a);
  const std::vector<double> log_b = Logarithms(b);
  const Difference difference = WelchDifference(log_a, log_b, confidence);
  metric.mean_a = std::exp(Mean(log_a));
  metric.mean_b = std::exp(Mean(log_b));
  metric.effect = std::expm1(difference.value);
  metric.interval = {std::expm1(difference.interval.low), std::expm1(difference.interval.high)};
  metric.p = difference.p;
  return metric;
}

// Whether it is more than a curiosity.
bool LargeEnough(const MetricComparison& metric, double threshold) {
  if (!metric.relative) {
    return std::abs(metric.effect) >
           threshold * std::max(std::abs(metric.mean_a), std::abs(metric.mean_b));
  }
  // A factor: 5 % more, and back again.
  return std::abs(std::log1p(metric.effect)) >
         std::log1p(std::max(threshold, metric.kind->resolution));
}

Change ChangeOf(const MetricComparison& metric) {
  if (metric.kind->better == Better::kNeither) return Change::kChanged;
  const bool lower = metric.effect < 0;
  return lower == (metric.kind->better == Better::kLower) ? Change::kBetter : Change::kWorse;
}

std::map<std::string, size_t> VerdictsOf(const std::vector<const json*>& runs) {
  std::map<std::string, size_t> verdicts;
  for (const json* run : runs) ++verdicts[TextAt(*run, {"verdict"})];
  return verdicts;
}

// Without its scheduler, which may be what is compared.
std::string ScenarioText(const json& run) {
  const auto scenario = run.find("scenario");
  if (scenario == run.end() || !scenario->is_object()) return "";
  json object = *scenario;
  object.erase("scheduler");
  return object.dump(-1, ' ', false, json::error_handler_t::replace);
}

// What differs besides what is to be compared.
void NoteDifferences(const std::vector<const json*>& a, const std::vector<const json*>& b,
                     std::vector<std::string>* notes) {
  const auto differs = [&](const auto& reader) {
    std::set<std::string> values;
    for (const json* run : a) values.insert(reader(*run));
    for (const json* run : b) values.insert(reader(*run));
    values.erase("");
    return values.size() > 1;
  };
  if (differs(ScenarioText)) {
    notes->push_back("the scenario is not the same in all runs");
  }
  if (differs([](const json& run) { return TextAt(run, {"machine", "topology"}); })) {
    notes->push_back("the topology is not the same in all runs");
  }
  if (differs([](const json& run) { return TextAt(run, {"host", "lane"}); })) {
    notes->push_back("some ran on the host's KVM and some in the emulated host");
  }
}

ScenarioComparison CompareScenario(const std::string& name, const std::vector<const json*>& a,
                                   const std::vector<const json*>& b, double confidence) {
  ScenarioComparison scenario{
      .name = name, .verdicts_a = VerdictsOf(a), .verdicts_b = VerdictsOf(b)};
  scenario.fails_anew = scenario.verdicts_a.count("fail") == 0 &&
                        scenario.verdicts_a.count("pass") > 0 &&
                        scenario.verdicts_b.count("fail") > 0;
  NoteDifferences(a, b, &scenario.notes);
  Samples samples_a, samples_b;
  const size_t usable_a = TakeSamples(a, &samples_a);
  const size_t usable_b = TakeSamples(b, &samples_b);
  if (usable_a < kFewestRuns || usable_b < kFewestRuns) {
    scenario.notes.push_back(absl::StrFormat(
        "not compared: %d of %d runs in A and %d of %d in B have figures, %d in each are needed",
        usable_a, a.size(), usable_b, b.size(), kFewestRuns));
    return scenario;
  }
  for (const auto& [key, of_a] : samples_a) {
    const auto of_b = samples_b.find(key);
    if (of_b == samples_b.end()) continue;
    if (of_a.size() < kFewestRuns || of_b->second.size() < kFewestRuns) continue;
    scenario.metrics.push_back(CompareSamples(key, of_a, of_b->second, confidence));
  }
  return scenario;
}

void MarkChanges(Comparison* comparison) {
  std::vector<MetricComparison*> all;
  std::vector<double> p;
  for (ScenarioComparison& scenario : comparison->scenarios) {
    comparison->regressions += scenario.fails_anew;
    for (MetricComparison& metric : scenario.metrics) {
      all.push_back(&metric);
      p.push_back(metric.p);
    }
  }
  comparison->metrics = all.size();
  const std::vector<bool> real = BenjaminiHochberg(p, 1 - comparison->options.confidence);
  for (size_t i = 0; i < all.size(); ++i) {
    if (!real[i] || !LargeEnough(*all[i], comparison->options.threshold)) continue;
    all[i]->change = ChangeOf(*all[i]);
    comparison->regressions += all[i]->change == Change::kWorse;
    comparison->improvements += all[i]->change == Change::kBetter;
  }
}

}  // namespace

absl::StatusOr<Comparison> Compare(const RunsFile& a, const RunsFile& b,
                                   const CompareOptions& options) {
  Comparison comparison{.options = options,
                        .path_a = a.path,
                        .path_b = b.path,
                        .about_a = About(a),
                        .about_b = About(b)};
  const RunsByScenario runs_a = ByScenario(a);
  const RunsByScenario runs_b = ByScenario(b);
  for (const auto& [name, of_a] : runs_a) {
    const auto of_b = runs_b.find(name);
    if (of_b == runs_b.end()) {
      comparison.notes.push_back(absl::StrCat("scenario ", name, " is only in A"));
      continue;
    }
    comparison.scenarios.push_back(CompareScenario(name, of_a, of_b->second, options.confidence));
  }
  for (const auto& [name, of_b] : runs_b) {
    if (runs_a.count(name) == 0) {
      comparison.notes.push_back(absl::StrCat("scenario ", name, " is only in B"));
    }
  }
  if (comparison.scenarios.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(a.path, " and ", b.path, " have no scenario in common"));
  }
  MarkChanges(&comparison);
  if (comparison.metrics == 0 && comparison.regressions == 0) {
    const ScenarioComparison& first = comparison.scenarios.front();
    return absl::InvalidArgumentError(absl::StrCat(
        "nothing to compare: scenario ", first.name, ": ",
        first.notes.empty() ? "no metric in common" : first.notes.back(),
        "; run with --repeat 5 or more"));
  }
  return comparison;
}

}  // namespace stasis
