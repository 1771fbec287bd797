#include "tools/report/charts.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "guest/scenario/histogram.h"
#include "tools/report/html.h"

namespace stasis::html {
namespace {

using nlohmann::json;

constexpr double kWidth = 1000;   // of a chart, in its own units
constexpr double kLabels = 170;   // left of it
constexpr double kPlot = kWidth - kLabels - 30;
constexpr double kRow = 18;
constexpr size_t kMostRows = 64;
// A wait from here on is drawn: every runnable task waits a little.
constexpr double kVisibleGapNs = 20e6;

std::string Open(double height, const char* what) {
  return absl::StrFormat(
      "<svg viewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-label=\"%s\" width=\"100%%\">", kWidth,
      height, what);
}

std::string Label(double y, const std::string& text) {
  return absl::StrFormat("<text class=\"label\" x=\"%.0f\" y=\"%.1f\" text-anchor=\"end\">%s</text>",
                         kLabels - 6, y + kRow * 0.7, text);
}

std::string Rect(double x, double y, double width, double height, const std::string& fill,
                 double opacity, const std::string& title) {
  return absl::StrFormat(
      "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.2f\" height=\"%.1f\" fill=\"%s\" fill-opacity=\"%.2f\">"
      "<title>%s</title></rect>",
      x, y, std::max(width, 0.5), height, fill, opacity, title);
}

// A time axis in seconds below the rows, and a line for each step.
struct Axis {
  double begin_ns = 0;
  double end_ns = 1;

  double X(double at_ns) const {
    const double share = (at_ns - begin_ns) / std::max(1.0, end_ns - begin_ns);
    return kLabels + kPlot * std::clamp(share, 0.0, 1.0);
  }
  std::string Draw(double top, double bottom, const json& result) const {
    std::string svg;
    const double seconds = (end_ns - begin_ns) / 1e9;
    const double step = std::max(0.1, std::pow(10, std::floor(std::log10(std::max(seconds, 0.1)))) / 2);
    for (double at = 0; at <= seconds + 1e-9; at += step) {
      absl::StrAppendFormat(&svg,
                            "<line class=\"grid\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>"
                            "<text class=\"axis\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%g s"
                            "</text>",
                            X(begin_ns + at * 1e9), X(begin_ns + at * 1e9), top, bottom,
                            X(begin_ns + at * 1e9), bottom + 12, at);
    }
    for (const json& one : List(result, "steps")) {
      const double x = X(Number(At(result, "start_ns")) + Number(At(one, "began_ns")));
      absl::StrAppendFormat(
          &svg,
          "<line class=\"step\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"><title>%s</title>"
          "</line>",
          x, x, top, bottom, Text(At(one, "what")));
    }
    return svg;
  }
};

// The same for all charts of a run; for one that has no end, as long as `samples` of it.
Axis RunAxis(const json& result, const json& samples) {
  const double start = Number(At(result, "start_ns")), end = Number(At(result, "end_ns"));
  if (start > 0 && end > start) return {start, end};
  const json& ends = List(samples, "ends_ns");
  return {Number(At(samples, "begin_ns")), ends.empty() ? 1 : Number(ends.back())};
}

// Workers by index.
std::map<int64_t, const json*> WorkersOf(const json& result) {
  std::map<int64_t, const json*> workers;
  for (const json& worker : List(result, "workers")) {
    workers[static_cast<int64_t>(Number(At(worker, "index")))] = &worker;
  }
  return workers;
}

// A horizontal bar for each row, labelled, against the largest.
struct Bar {
  std::string label;
  double value = 0;
  std::string text;
  std::string colour;
  double mark = -1;  // where a line is drawn across; negative: none
};
std::string Bars(const std::vector<Bar>& bars, const char* what) {
  if (bars.empty()) return "";
  double most = 0;
  for (const Bar& bar : bars) most = std::max({most, bar.value, bar.mark});
  if (most <= 0) most = 1;
  const double room = kPlot - 220;  // the text behind the longest
  std::string svg = Open(static_cast<double>(bars.size()) * kRow + 4, what);
  double y = 2;
  for (const Bar& bar : bars) {
    svg += Label(y, bar.label);
    svg += Rect(kLabels, y + 2, room * bar.value / most, kRow - 5, bar.colour, 0.85, bar.text);
    if (bar.mark >= 0) {
      const double x = kLabels + room * bar.mark / most;
      absl::StrAppendFormat(&svg,
                            "<line class=\"mark\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>", x,
                            x, y, y + kRow - 1);
    }
    absl::StrAppendFormat(&svg, "<text class=\"axis\" x=\"%.1f\" y=\"%.1f\">%s</text>",
                          kLabels + room * std::max(bar.value, bar.mark) / most + 6, y + kRow * 0.7,
                          bar.text);
    y += kRow;
  }
  return svg + "</svg>";
}

std::string GroupName(const json& one) {
  return absl::StrCat(Text(At(one, "cgroup")), " ", Text(At(one, "work")));
}

}  // namespace

std::string WorkerLanes(const json& result) {
  const json& samples = At(result, "samples");
  const json& ends = List(samples, "ends_ns");
  const json& lanes = List(samples, "workers");
  if (ends.empty() || lanes.empty()) return "";
  const Axis axis = RunAxis(result, samples);
  const auto workers = WorkersOf(result);
  const size_t rows = std::min(lanes.size(), kMostRows);
  const double bottom = static_cast<double>(rows) * kRow;
  std::string svg = Open(bottom + 18, "workers over time");
  svg += axis.Draw(0, bottom, result);
  for (size_t row = 0; row < rows; ++row) {
    const json& lane = lanes[row];
    const int64_t index = static_cast<int64_t>(Number(At(lane, "index")));
    const auto worker = workers.find(index);
    const std::string name =
        worker == workers.end() ? absl::StrCat("worker ", index) : Text(At(*worker->second, "name"));
    const double y = static_cast<double>(row) * kRow;
    svg += Label(y, name);
    double from = Number(At(samples, "begin_ns"));
    for (size_t i = 0; i < ends.size(); ++i) {
      const double to = Number(ends[i]);
      const double x = axis.X(from), width = axis.X(to) - x;
      const json &run = List(lane, "run_ns"), &gap = List(lane, "gap_ns"), &cpus = List(lane, "cpu");
      const double cpu = i < cpus.size() ? Number(cpus[i]) : -1;
      const double ran = i < run.size() ? Number(run[i]) : 0;
      const double waited = i < gap.size() ? Number(gap[i]) : 0;
      const double share = to > from ? std::min(1.0, ran / (to - from)) : 0;
      const std::string title =
          absl::StrFormat("%s, CPU %.0f, ran %.0f %%, waited %s", name, cpu, share * 100,
                          Duration(waited));
      if (cpu >= 0 && share > 0) {
        svg += Rect(x, y + 1, width, kRow - 6, Colour(static_cast<uint64_t>(cpu)),
                    0.15 + 0.85 * share, title);
      }
      if (waited >= kVisibleGapNs) {
        svg += Rect(x, y + kRow - 5, width, 4, "var(--bad)",
                    std::min(1.0, 0.35 + waited / 1e9), title);
      }
      from = to;
    }
  }
  svg += "</svg>";
  if (rows < lanes.size()) {
    absl::StrAppend(&svg, "<p class=\"note\">", lanes.size() - rows, " more workers</p>");
  }
  return svg;
}

std::string CpuDepth(const json& result) {
  const json& samples = At(result, "samples");
  const json& ends = List(samples, "ends_ns");
  if (ends.empty()) return "";
  // Workers that ran or waited, by CPU and interval.
  std::map<int64_t, std::vector<int>> depth;
  int most = 1;
  for (const json& lane : List(samples, "workers")) {
    const json &cpus = List(lane, "cpu"), &run = List(lane, "run_ns"), &gap = List(lane, "gap_ns");
    for (size_t i = 0; i < ends.size() && i < std::min({cpus.size(), run.size(), gap.size()}); ++i) {
      const int64_t cpu = static_cast<int64_t>(Number(cpus[i]));
      if (cpu < 0 || (Number(run[i]) == 0 && Number(gap[i]) == 0)) continue;
      std::vector<int>& lane_of = depth[cpu];
      lane_of.resize(ends.size());
      most = std::max(most, ++lane_of[i]);
    }
  }
  if (depth.empty()) return "";
  const Axis axis = RunAxis(result, samples);
  const size_t rows = std::min(depth.size(), kMostRows);
  const double bottom = static_cast<double>(rows) * kRow;
  std::string svg = Open(bottom + 18, "workers on each CPU");
  svg += axis.Draw(0, bottom, result);
  double y = 0;
  for (const auto& [cpu, counts] : depth) {
    svg += Label(y, absl::StrCat("CPU ", cpu));
    double from = Number(At(samples, "begin_ns"));
    for (size_t i = 0; i < counts.size(); ++i) {
      const double x = axis.X(from), to = Number(ends[i]);
      if (counts[i] > 0) {
        svg += Rect(x, y + 1, axis.X(to) - x, kRow - 2, "var(--accent)",
                    0.12 + 0.88 * counts[i] / most, absl::StrCat("CPU ", cpu, ": ", counts[i]));
      }
      from = to;
    }
    y += kRow;
    if (y >= bottom) break;
  }
  return svg + "</svg>";
}

std::string RunqueueDepth(const json& result) {
  const json& monitor = At(result, "monitor");
  const json& series = At(monitor, "series");
  const json &ends = List(series, "ends_ns"), &cpus = List(series, "cpus");
  if (ends.empty() || cpus.empty()) return "";
  double most = 1;
  for (const json& cpu : cpus) {
    for (const json& value : List(cpu, "most")) most = std::max(most, Number(value));
  }
  const Axis axis = RunAxis(result, series);
  const size_t rows = std::min(cpus.size(), kMostRows);
  const double bottom = static_cast<double>(rows) * kRow;
  std::string svg = Open(bottom + 18, "runqueue depth");
  svg += axis.Draw(0, bottom, result);
  for (size_t row = 0; row < rows; ++row) {
    const double y = static_cast<double>(row) * kRow;
    const std::string name = absl::StrCat("CPU ", Text(At(cpus[row], "cpu")));
    svg += Label(y, name);
    const json &deepest = List(cpus[row], "most"), &mean = List(cpus[row], "mean"),
               &busy = List(cpus[row], "busy");
    double from = Number(At(series, "begin_ns"));
    for (size_t i = 0; i < ends.size(); ++i) {
      const double to = Number(ends[i]), x = axis.X(from);
      const double tasks = i < mean.size() ? Number(mean[i]) : 0;
      const bool shown = to > axis.begin_ns && from < axis.end_ns;
      from = to;
      if (tasks <= 0 || !shown) continue;
      const double runs = i < busy.size() ? Number(busy[i]) : 0;
      // Tasks that wait for a CPU which idles are a colour of their own.
      svg += Rect(x, y + 1, axis.X(to) - x, kRow - 2, runs > 0 ? "var(--accent)" : "var(--bad)",
                  0.12 + 0.88 * std::min(1.0, tasks / most),
                  absl::StrFormat("%s: %g tasks, at most %g, busy %.0f %%", name, tasks,
                                  i < deepest.size() ? Number(deepest[i]) : tasks, 100 * runs));
    }
  }
  for (const json& finding : List(monitor, "findings")) {
    if (Text(At(finding, "severity")) != "failure") continue;
    const double x = axis.X(Number(At(finding, "began_ns")));
    absl::StrAppendFormat(&svg,
                          "<line class=\"mark\" x1=\"%.1f\" x2=\"%.1f\" y1=\"0\" y2=\"%.1f\"><title>"
                          "%s</title></line>",
                          x, x, bottom, Text(At(finding, "text")));
  }
  svg += "</svg>";
  if (rows < cpus.size()) {
    absl::StrAppend(&svg, "<p class=\"note\">", cpus.size() - rows, " more CPUs</p>");
  }
  return svg;
}

std::string Throughput(const json& result) {
  const json &marks = List(result, "marks_ns"), &groups = List(result, "groups");
  if (marks.size() < 3 || groups.empty()) return "";
  const Axis axis = RunAxis(result, At(result, "samples"));
  constexpr double kHeight = 160;
  // Each group against its own best: kinds of work count different things.
  std::string svg = Open(kHeight + 18, "throughput over time");
  svg += axis.Draw(0, kHeight, result);
  uint64_t index = 0;
  std::string legend;
  for (const json& group : groups) {
    const json& iterations = List(group, "iterations");
    const size_t count = std::min(iterations.size(), marks.size());
    double most = 0;
    std::vector<double> rates;
    for (size_t i = 1; i < count; ++i) {
      const double seconds = (Number(marks[i]) - Number(marks[i - 1])) / 1e9;
      const double done = Number(iterations[i]) - Number(iterations[i - 1]);
      rates.push_back(seconds > 0 ? std::max(0.0, done / seconds) : 0);
      most = std::max(most, rates.back());
    }
    if (most <= 0) continue;
    std::string points;
    for (size_t i = 0; i < rates.size(); ++i) {
      absl::StrAppendFormat(&points, "%.1f,%.1f ", axis.X(Number(marks[i + 1])),
                            kHeight - (kHeight - 6) * rates[i] / most);
    }
    absl::StrAppendFormat(&svg,
                          "<polyline points=\"%s\" fill=\"none\" stroke=\"%s\" stroke-width=\"1.8\"/>",
                          points, Colour(index));
    absl::StrAppendFormat(&legend,
                          "<span><i style=\"background:%s\"></i>%s: at most %.0f iterations/s</span>",
                          Colour(index), GroupName(group), most);
    ++index;
  }
  if (index == 0) return "";
  return absl::StrCat(svg, "</svg><p class=\"legend\">", legend, "</p>");
}

std::string Gaps(const json& result) {
  std::vector<Bar> bars;
  for (const json& worker : List(result, "workers")) {
    if (bars.size() == kMostRows) break;
    const double gap = Number(At(worker, "max_gap_ns"));
    const double at = Number(At(worker, "gap_at_ns")) - Number(At(result, "start_ns"));
    bars.push_back({.label = Text(At(worker, "name")),
                    .value = gap,
                    .text = absl::StrCat(Duration(gap), ", from ", Duration(at), " on",
                                         At(worker, "gap_unfinished") == json(true)
                                             ? ", not over at the end"
                                             : ""),
                    .colour = "var(--bad)"});
  }
  return Bars(bars, "longest gaps");
}

std::string CgroupShares(const json& result) {
  std::map<std::string, double> ran;
  double all = 0;
  for (const json& worker : List(result, "workers")) {
    ran[Text(At(worker, "cgroup"))] += Number(At(worker, "run_ns"));
    all += Number(At(worker, "run_ns"));
  }
  if (ran.size() < 2 || all <= 0) return "";
  std::map<std::string, double> weights;
  double weight_of_all = 0;
  bool weighted = false;
  for (const json& cgroup : List(At(result, "scenario"), "cgroups")) {
    const std::string name = Text(At(cgroup, "name"));
    if (ran.count(name) == 0) continue;
    const double weight = Number(At(cgroup, "weight"));
    weighted = weighted || (weight > 0 && weight != 100);
    weights[name] = weight > 0 ? weight : 100;  // the kernel's default
    weight_of_all += weights[name];
  }
  std::vector<Bar> bars;
  uint64_t index = 0;
  for (const auto& [name, ns] : ran) {
    const double share = ns / all;
    std::string text = absl::StrFormat("%.1f %% of the CPU time", share * 100);
    double mark = -1;
    if (weighted && weights.count(name) != 0) {
      mark = weights[name] / weight_of_all;
      absl::StrAppendFormat(&text, "; its weight asks for %.1f %%", mark * 100);
    }
    bars.push_back({name, share, text, Colour(index++), mark});
    if (bars.size() == kMostRows) break;
  }
  return Bars(bars, "shares of cgroups");
}

std::string Latencies(const json& result, const char* key) {
  std::map<std::string, Histogram> groups;
  for (const json& worker : List(result, "workers")) {
    const json& text = At(worker, key);
    if (!text.is_string()) continue;
    const auto histogram = Histogram::Parse(text.get_ref<const std::string&>());
    if (!histogram.ok() || histogram->empty()) continue;
    groups[absl::StrCat(GroupName(worker), " ", Text(At(worker, "kind")))].Merge(*histogram);
  }
  if (groups.empty()) return "";
  constexpr double kHeight = 140;
  double least = 1e18, most = 0;
  for (const auto& [name, histogram] : groups) {
    least = std::min(least, static_cast<double>(Histogram::Low(histogram.counts().begin()->first)));
    most = std::max(most, static_cast<double>(Histogram::Low(histogram.counts().rbegin()->first)));
  }
  const double low = std::floor(std::log10(std::max(least, 100.0)));
  const double high = std::max(low + 1, std::ceil(std::log10(std::max(most, 1000.0))));
  auto x_of = [&](double ns) {
    const double share = (std::log10(std::max(ns, 1.0)) - low) / (high - low);
    return kLabels + kPlot * std::clamp(share, 0.0, 1.0);
  };
  std::string svg = Open(kHeight + 18, "distribution of latencies");
  for (double decade = low; decade <= high; ++decade) {
    const double x = x_of(std::pow(10, decade));
    absl::StrAppendFormat(&svg,
                          "<line class=\"grid\" x1=\"%.1f\" x2=\"%.1f\" y1=\"0\" y2=\"%.0f\"/>"
                          "<text class=\"axis\" x=\"%.1f\" y=\"%.0f\" text-anchor=\"middle\">%s</text>",
                          x, x, kHeight, x, kHeight + 12, Duration(std::pow(10, decade)));
  }
  // Cumulative from above: the share that took longer, in decades, so that the tail is seen.
  constexpr double kDecades = 5;
  absl::StrAppendFormat(&svg,
                        "<text class=\"label\" x=\"%.0f\" y=\"12\" text-anchor=\"end\">all take "
                        "longer</text><text class=\"label\" x=\"%.0f\" y=\"%.0f\" "
                        "text-anchor=\"end\">1 in 100,000</text>",
                        kLabels - 6, kLabels - 6, kHeight - 2);
  uint64_t index = 0;
  std::string legend;
  for (const auto& [name, histogram] : groups) {
    const double count = static_cast<double>(histogram.count());
    double above = count;
    std::string points;
    for (const auto& [bucket, times] : histogram.counts()) {
      const double y =
          std::min(kDecades, -std::log10(std::max(above / count, 1e-9))) / kDecades * kHeight;
      absl::StrAppendFormat(&points, "%.1f,%.1f ", x_of(static_cast<double>(Histogram::Low(bucket))),
                            y);
      above -= static_cast<double>(times);
    }
    absl::StrAppendFormat(
        &svg, "<polyline points=\"%s\" fill=\"none\" stroke=\"%s\" stroke-width=\"1.8\"/>", points,
        Colour(index));
    auto quantile = [&, &h = histogram](double q) {
      return Duration(static_cast<double>(h.Quantile(q)));
    };
    absl::StrAppendFormat(&legend,
                          "<span><i style=\"background:%s\"></i>%s: %.0f times, p50 %s, p99 %s, "
                          "p99.9 %s, longest %s</span>",
                          Colour(index), name, count, quantile(0.5), quantile(0.99), quantile(0.999),
                          quantile(1));
    ++index;
  }
  return absl::StrCat(svg, "</svg><p class=\"legend\">", legend, "</p>");
}

}  // namespace stasis::html
