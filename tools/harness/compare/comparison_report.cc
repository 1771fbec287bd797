// A comparison as text for people and as JSON for programs.
#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "tools/harness/compare/comparison.h"
#include "tools/harness/verdict.h"

namespace stasis {
namespace {

using nlohmann::json;

const char* ChangeName(Change change) {
  switch (change) {
    case Change::kSame:
      return "same";
    case Change::kWorse:
      return "worse";
    case Change::kBetter:
      return "better";
    case Change::kChanged:
      return "changed";
  }
  return "";
}

const char* BetterName(Better better) {
  switch (better) {
    case Better::kLower:
      return "lower";
    case Better::kHigher:
      return "higher";
    case Better::kNeither:
      return "neither";
  }
  return "";
}

std::string Percent(double share) {
  const double percent = share * 100;
  if (!std::isfinite(percent) || std::abs(percent) >= 1e5) return percent < 0 ? "-many%" : "+many%";
  return absl::StrFormat(std::abs(percent) < 10 ? "%+.1f%%" : "%+.0f%%", percent);
}

std::string EffectText(const MetricComparison& metric, double effect) {
  if (metric.relative) return Percent(effect);
  return absl::StrCat(effect < 0 ? "-" : "+", MetricText(metric.kind->unit, std::abs(effect)));
}

std::string IntervalText(const MetricComparison& metric) {
  return absl::StrCat("[", EffectText(metric, metric.interval.low), ", ",
                      EffectText(metric, metric.interval.high), "]");
}

std::string VerdictsText(const std::map<std::string, size_t>& verdicts) {
  std::vector<std::string> parts;
  for (const auto& [verdict, count] : verdicts) parts.push_back(absl::StrCat(count, " ", verdict));
  return absl::StrJoin(parts, ", ");
}

std::string NameOf(const MetricComparison& metric) {
  return absl::StrCat(metric.group, " ", metric.kind->text);
}

// Of what became worse: the scenario that fails first, then the largest factor.
std::string WorstText(const Comparison& comparison) {
  const MetricComparison* worst = nullptr;
  std::string scenario_of_worst;
  for (const ScenarioComparison& scenario : comparison.scenarios) {
    if (scenario.fails_anew) {
      return absl::StrCat(scenario.name, " fails in ", scenario.verdicts_b.at("fail"), " of B's ",
                          "runs and in none of A's");
    }
    for (const MetricComparison& metric : scenario.metrics) {
      if (metric.change != Change::kWorse) continue;
      const auto size = [](const MetricComparison& m) {
        return m.relative ? std::abs(std::log1p(m.effect)) : 0;
      };
      if (worst != nullptr && size(metric) <= size(*worst)) continue;
      worst = &metric;
      scenario_of_worst = scenario.name;
    }
  }
  if (worst == nullptr) return "";
  return absl::StrCat(scenario_of_worst, ": ", NameOf(*worst), " ",
                      EffectText(*worst, worst->effect), " ", IntervalText(*worst));
}

std::string FirstLine(const Comparison& comparison) {
  if (comparison.regressions == 0) {
    return absl::StrFormat("SAME OR BETTER: %d metrics compared, none is worse, %d better",
                           comparison.metrics, comparison.improvements);
  }
  return absl::StrFormat("REGRESSION: %d of %d metrics and verdicts are worse in B; most: %s",
                         comparison.regressions,
                         comparison.metrics + comparison.scenarios.size(), WorstText(comparison));
}

void AppendScenario(const ScenarioComparison& scenario, double confidence, std::string* text) {
  absl::StrAppend(text, "\n", scenario.name, ": A ", VerdictsText(scenario.verdicts_a), "; B ",
                  VerdictsText(scenario.verdicts_b), scenario.fails_anew ? "  WORSE" : "", "\n");
  for (const std::string& note : scenario.notes) {
    absl::StrAppend(text, "  note: ", OneLine(note), "\n");
  }
  if (scenario.metrics.empty()) return;
  size_t width = 20;
  for (const MetricComparison& metric : scenario.metrics) {
    width = std::max(width, NameOf(metric).size());
  }
  absl::StrAppendFormat(text, "  %-*s %14s %14s %10s  %-20s\n", width, "", "A", "B", "change",
                        absl::StrFormat("%.3g%% interval", confidence * 100));
  for (const MetricComparison& metric : scenario.metrics) {
    std::string line = absl::StrFormat(
        "  %-*s %14s %14s %10s  %-20s", width, NameOf(metric),
        MetricText(metric.kind->unit, metric.mean_a), MetricText(metric.kind->unit, metric.mean_b),
        EffectText(metric, metric.effect), IntervalText(metric));
    if (metric.change == Change::kWorse) absl::StrAppend(&line, "  WORSE");
    if (metric.change == Change::kBetter) absl::StrAppend(&line, "  better");
    if (metric.change == Change::kChanged) absl::StrAppend(&line, "  changed");
    line.erase(line.find_last_not_of(' ') + 1);
    absl::StrAppend(text, line, "\n");
  }
}

json NumberOrNull(double value) { return std::isfinite(value) ? json(value) : json(); }

json MetricJson(const MetricComparison& metric) {
  return {{"metric", metric.kind->name},
          {"group", metric.group},
          {"better", BetterName(metric.kind->better)},
          {"runs_a", metric.count_a},
          {"runs_b", metric.count_b},
          {"mean_a", metric.mean_a},
          {"mean_b", metric.mean_b},
          {"relative", metric.relative},
          {"effect", NumberOrNull(metric.effect)},
          {"interval", {NumberOrNull(metric.interval.low), NumberOrNull(metric.interval.high)}},
          {"p", metric.p},
          {"change", ChangeName(metric.change)}};
}

}  // namespace

std::string ComparisonText(const Comparison& comparison) {
  std::string text =
      absl::StrCat(FirstLine(comparison), "\nA  ", comparison.path_a, ": ", comparison.about_a,
                   "\nB  ", comparison.path_b, ": ", comparison.about_b, "\n");
  for (const std::string& note : comparison.notes) {
    absl::StrAppend(&text, "note: ", OneLine(note), "\n");
  }
  for (const ScenarioComparison& scenario : comparison.scenarios) {
    AppendScenario(scenario, comparison.options.confidence, &text);
  }
  return text;
}

json ComparisonJson(const Comparison& comparison) {
  json scenarios = json::array();
  for (const ScenarioComparison& scenario : comparison.scenarios) {
    json metrics = json::array();
    for (const MetricComparison& metric : scenario.metrics) metrics.push_back(MetricJson(metric));
    scenarios.push_back({{"name", scenario.name},
                         {"verdicts_a", scenario.verdicts_a},
                         {"verdicts_b", scenario.verdicts_b},
                         {"fails_anew", scenario.fails_anew},
                         {"notes", scenario.notes},
                         {"metrics", std::move(metrics)}});
  }
  return {{"format", "stasis.comparison/1"},
          {"a", {{"path", comparison.path_a}, {"about", comparison.about_a}}},
          {"b", {{"path", comparison.path_b}, {"about", comparison.about_b}}},
          {"confidence", comparison.options.confidence},
          {"threshold", comparison.options.threshold},
          {"metrics", comparison.metrics},
          {"regressions", comparison.regressions},
          {"improvements", comparison.improvements},
          {"notes", comparison.notes},
          {"scenarios", std::move(scenarios)}};
}

}  // namespace stasis
