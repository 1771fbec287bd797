#include "tools/bench/report.h"

#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tools/bench/statistics.h"

namespace stasis::bench {
namespace {

using nlohmann::json;

double Milliseconds(absl::Duration duration) { return absl::ToDoubleMilliseconds(duration); }
double Mebibytes(uint64_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

template <typename Item, typename Value>
Summary Over(const std::vector<Item>& items, Value value) {
  std::vector<double> values;
  for (const Item& item : items) values.push_back(value(item));
  return Summarize(std::move(values));
}

Summary HelloOf(const std::vector<Boot>& boots) {
  return Over(boots, [](const Boot& boot) { return Milliseconds(boot.to_hello); });
}
Summary RssOf(const std::vector<Boot>& boots) {
  return Over(boots, [](const Boot& boot) { return Mebibytes(boot.memory.rss); });
}
Summary PssOf(const std::vector<Boot>& boots) {
  return Over(boots, [](const Boot& boot) { return Mebibytes(boot.memory.pss); });
}
Summary CpuOf(const std::vector<Startup>& startups) {
  return Over(startups, [](const Startup& startup) { return Milliseconds(startup.cpu); });
}

std::vector<Boot> BootsOf(const CpuCountResult& result) {
  std::vector<Boot> boots;
  for (const StasisBoot& run : result.stasis) boots.push_back(run.boot);
  return boots;
}
std::vector<Startup> StartupsOf(const CpuCountResult& result) {
  std::vector<Startup> startups;
  for (const StasisBoot& run : result.stasis) startups.push_back(run.startup);
  return startups;
}

// The faster of QEMU's two ways, which is what the goal is about.
const std::vector<Boot>& FasterQemu(const CpuCountResult& result) {
  if (result.qemu_elf.empty()) return result.qemu_same_file;
  if (result.qemu_same_file.empty()) return result.qemu_elf;
  return HelloOf(result.qemu_elf).median < HelloOf(result.qemu_same_file).median
             ? result.qemu_elf
             : result.qemu_same_file;
}

struct StageSummary {
  std::string name;
  Summary cpu;
  Summary elapsed;
};

std::vector<StageSummary> StagesOf(const std::vector<Startup>& startups) {
  std::vector<std::string> order;
  std::map<std::string, std::pair<std::vector<double>, std::vector<double>>> by_name;
  for (const Startup& startup : startups) {
    for (const StageCost& stage : startup.stages) {
      if (by_name.count(stage.name) == 0) order.push_back(stage.name);
      by_name[stage.name].first.push_back(Milliseconds(stage.cpu));
      by_name[stage.name].second.push_back(Milliseconds(stage.elapsed));
    }
  }
  std::vector<StageSummary> stages;
  for (const std::string& name : order) {
    stages.push_back({name, Summarize(by_name[name].first), Summarize(by_name[name].second)});
  }
  return stages;
}

void AppendRow(const std::string& name, const Summary& summary, const char* unit,
               const std::string& note, std::string* text) {
  if (summary.count == 0) return;
  absl::StrAppendFormat(text, "  %-34s %10.1f %10.1f %10.1f %s  %3d runs%s\n", name, summary.median,
                        summary.min, summary.max, unit, summary.count,
                        note.empty() ? "" : absl::StrCat("  ", note));
}

std::string RatioNote(const Summary& ours, const Summary& theirs) {
  const auto ratio = MedianRatio(ours, theirs);
  return ratio.has_value() ? absl::StrFormat("stasis is at %.2f of it", *ratio) : "";
}

void AppendCpuCount(const CpuCountResult& result, std::string* text) {
  const std::vector<Boot> boots = BootsOf(result);
  absl::StrAppendFormat(text, "\n%d vCPU%s%26s %10s %10s\n", result.cpus,
                        result.cpus == 1 ? " " : "s", "", "median", "min");
  const Summary hello = HelloOf(boots);
  const Summary same = HelloOf(result.qemu_same_file);
  const Summary elf = HelloOf(result.qemu_elf);
  AppendRow("start to hello: stasis", hello, "ms ", "", text);
  AppendRow("start to hello: QEMU, same file", same, "ms ", RatioNote(hello, same), text);
  AppendRow("start to hello: QEMU, ELF by PVH", elf, "ms ", RatioNote(hello, elf), text);
  AppendRow("beyond the guest, RSS: stasis", RssOf(boots), "MiB", "", text);
  AppendRow("beyond the guest, PSS: stasis", PssOf(boots), "MiB", "", text);
  AppendRow("beyond the guest, RSS: QEMU", RssOf(FasterQemu(result)), "MiB", "", text);
  AppendRow("beyond the guest, PSS: QEMU", PssOf(FasterQemu(result)), "MiB", "", text);
  AppendRow("CPU time to the first KVM_RUN", CpuOf(StartupsOf(result)), "ms ", "", text);
}

void AppendStages(const std::string& title, const std::vector<Startup>& startups,
                  std::string* text) {
  if (startups.empty()) return;
  absl::StrAppend(text, "\n", title, "\n");
  absl::StrAppendFormat(text, "  %-34s %10s %10s\n", "stage (medians)", "CPU", "elapsed");
  for (const StageSummary& stage : StagesOf(startups)) {
    absl::StrAppendFormat(text, "  %-34s %7.2f ms %7.2f ms\n", stage.name, stage.cpu.median,
                          stage.elapsed.median);
  }
  const Summary elapsed = Over(startups, [](const Startup& s) { return Milliseconds(s.elapsed); });
  absl::StrAppendFormat(text, "  %-34s %7.2f ms %7.2f ms  (%d runs)\n", "in all",
                        CpuOf(startups).median, elapsed.median, startups.size());
}

struct Goal {
  std::string name;
  std::optional<double> value;  // not measured: nullopt
  double limit = 0;
  const char* unit = "";
};

// Start-up and memory goals are for one vCPU.
const CpuCountResult* OneCpu(const BenchReport& report) {
  const auto found = std::find_if(report.results.begin(), report.results.end(),
                                  [](const CpuCountResult& result) { return result.cpus == 1; });
  return found == report.results.end() ? nullptr : &*found;
}

std::vector<Goal> Goals(const BenchReport& report) {
  std::vector<Goal> goals;
  for (const CpuCountResult& result : report.results) {
    goals.push_back({absl::StrFormat("start to hello, %d vCPU%s, of QEMU's faster way", result.cpus,
                                     result.cpus == 1 ? "" : "s"),
                     MedianRatio(HelloOf(BootsOf(result)), HelloOf(FasterQemu(result))),
                     kHelloRatioGoal, ""});
  }
  const CpuCountResult* one = OneCpu(report);
  // An emulated CPU's milliseconds say nothing of a real one's: the host's own KVM counts there.
  if (!report.host_startups.empty()) {
    goals.push_back({"CPU time to the first KVM_RUN (host's KVM)",
                     CpuOf(report.host_startups).median, kStartupCpuGoalMs, " ms"});
  } else if (report.lane == "kvm" && one != nullptr && !one->stasis.empty()) {
    goals.push_back({"CPU time to the first KVM_RUN", CpuOf(StartupsOf(*one)).median,
                     kStartupCpuGoalMs, " ms"});
  }
  if (one != nullptr && !one->stasis.empty()) {
    goals.push_back({"memory beyond the guest's, 1 vCPU (RSS)", RssOf(BootsOf(*one)).median,
                     kMemoryGoalMib, " MiB"});
  }
  return goals;
}

json BootsJson(const std::vector<Boot>& boots) {
  json runs = json::array();
  for (const Boot& boot : boots) {
    runs.push_back({{"to_hello_ns", absl::ToInt64Nanoseconds(boot.to_hello)},
                    {"rss_bytes", boot.memory.rss},
                    {"pss_bytes", boot.memory.pss},
                    {"guest_resident_bytes", boot.memory.guest_resident},
                    {"largest_mapping", boot.memory.largest_name},
                    {"largest_mapping_rss_bytes", boot.memory.largest_rss}});
  }
  return {{"to_hello_ms", ToJson(HelloOf(boots))},
          {"rss_mib", ToJson(RssOf(boots))},
          {"pss_mib", ToJson(PssOf(boots))},
          {"runs", std::move(runs)}};
}

}  // namespace

json StartupsToJson(const std::vector<Startup>& startups) {
  json list = json::array();
  for (const Startup& startup : startups) {
    json stages = json::array();
    for (const StageCost& stage : startup.stages) {
      stages.push_back({{"name", stage.name},
                        {"cpu_ns", absl::ToInt64Nanoseconds(stage.cpu)},
                        {"elapsed_ns", absl::ToInt64Nanoseconds(stage.elapsed)}});
    }
    list.push_back({{"cpu_ns", absl::ToInt64Nanoseconds(startup.cpu)},
                    {"elapsed_ns", absl::ToInt64Nanoseconds(startup.elapsed)},
                    {"stages", std::move(stages)}});
  }
  return list;
}

std::vector<Startup> StartupsFromJson(const json& list) {
  std::vector<Startup> startups;
  for (const json& entry : list) {
    Startup startup{.cpu = absl::Nanoseconds(entry.value("cpu_ns", int64_t{0})),
                    .elapsed = absl::Nanoseconds(entry.value("elapsed_ns", int64_t{0}))};
    for (const json& stage : entry.value("stages", json::array())) {
      startup.stages.push_back({stage.value("name", ""),
                                absl::Nanoseconds(stage.value("cpu_ns", int64_t{0})),
                                absl::Nanoseconds(stage.value("elapsed_ns", int64_t{0}))});
    }
    startups.push_back(std::move(startup));
  }
  return startups;
}

std::string TextReport(const BenchReport& report) {
  std::string text;
  absl::StrAppend(&text, "lane    ", report.lane, "\n");
  absl::StrAppend(&text, "kernel  ", report.kernel_release, " (", report.kernel_path, ")\n");
  absl::StrAppend(&text, "stasis  ", report.stasis, "\nQEMU    ", report.qemu, "\n");
  absl::StrAppendFormat(
      &text, "host    %s, %d CPUs, load %.1f before%s%s\n", report.host_cpu, report.host_cpus,
      report.load_before,
      report.load_after > 0 ? absl::StrFormat(", %.1f after", report.load_after) : "",
      report.load_before > 0.5 * report.host_cpus ? " (busy: read with care)" : "");
  for (const CpuCountResult& result : report.results) AppendCpuCount(result, &text);
  AppendStages("stasis' way to the first KVM_RUN on the host's own KVM", report.host_startups,
               &text);
  if (const CpuCountResult* one = OneCpu(report)) {
    AppendStages(
        absl::StrCat("stasis' way to the first KVM_RUN in the lane '", report.lane, "', 1 vCPU"),
        StartupsOf(*one), &text);
  }
  for (const std::string& failure : report.failures) {
    absl::StrAppend(&text, "\nrepeated: ", failure, "\n");
  }
  absl::StrAppend(&text, "\ngoals\n");
  for (const Goal& goal : Goals(report)) {
    if (!goal.value.has_value()) {
      absl::StrAppendFormat(&text, "  not measured  %s\n", goal.name);
      continue;
    }
    absl::StrAppendFormat(&text, "  %-13s %s: %.2f%s, goal at most %g%s\n",
                          *goal.value <= goal.limit ? "met" : "MISSED", goal.name, *goal.value,
                          goal.unit, goal.limit, goal.unit);
  }
  return text;
}

json JsonReport(const BenchReport& report) {
  json results = json::array();
  for (const CpuCountResult& result : report.results) {
    json entry = {{"cpus", result.cpus}, {"stasis", BootsJson(BootsOf(result))}};
    entry["stasis"]["startups"] = StartupsToJson(StartupsOf(result));
    entry["stasis"]["startup_cpu_ms"] = ToJson(CpuOf(StartupsOf(result)));
    if (!result.qemu_same_file.empty()) entry["qemu_same_file"] = BootsJson(result.qemu_same_file);
    if (!result.qemu_elf.empty()) entry["qemu_elf"] = BootsJson(result.qemu_elf);
    results.push_back(std::move(entry));
  }
  json goals = json::array();
  for (const Goal& goal : Goals(report)) {
    json entry = {{"name", goal.name}, {"limit", goal.limit}};
    if (goal.value.has_value()) {
      entry["value"] = *goal.value;
      entry["met"] = *goal.value <= goal.limit;
    }
    goals.push_back(std::move(entry));
  }
  return {{"format", "stasis.bench.boot/1"},
          {"lane", report.lane},
          {"kernel_release", report.kernel_release},
          {"kernel", report.kernel_path},
          {"stasis", report.stasis},
          {"qemu", report.qemu},
          {"host_cpu", report.host_cpu},
          {"host_cpus", report.host_cpus},
          {"load_before", report.load_before},
          {"load_after", report.load_after},
          {"results", std::move(results)},
          {"host_startups", StartupsToJson(report.host_startups)},
          {"failures", report.failures},
          {"goals", std::move(goals)}};
}

}  // namespace stasis::bench
