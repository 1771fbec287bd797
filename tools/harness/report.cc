#include "tools/harness/report.h"

#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tools/harness/files.h"
#include "tools/harness/time_line.h"
#include "tools/harness/topology_check.h"

namespace stasis {
namespace {

using nlohmann::json;

constexpr char kFormat[] = "stasis.result/1";
// A table for people: the rest is in the JSON.
constexpr size_t kMostRows = 32;

std::string Grouped(uint64_t number) {
  std::string digits = absl::StrCat(number);
  for (size_t at = digits.size(); at > 3; at -= 3) digits.insert(at - 3, 1, ',');
  return digits;
}

std::string WorkerName(const Measurements& measurements, const WorkerMeasurement& worker) {
  // Workers of a cgroup are counted from 0 within it.
  uint32_t index = 0;
  for (const WorkerMeasurement& other : measurements.workers) {
    if (other.cgroup == worker.cgroup && other.index < worker.index) ++index;
  }
  return absl::StrCat(worker.cgroup, "/", index);
}

void AppendGuest(const RunReport& report, std::string* text) {
  if (report.hello.has_value()) {
    absl::StrAppend(text, "kernel    ", OneLine(report.hello->kernel_release, 80), " (",
                    report.discovery, " discovery, ", report.lane, ")\n");
  }
  absl::StrAppend(text, "topology  asked ", report.asked.ToString(), " = ",
                  DescribeTopology(report.asked), "\n");
  if (!report.seen.has_value()) return;
  if (report.topology_differences.empty()) {
    absl::StrAppend(text, "          the guest sees exactly that\n");
    return;
  }
  absl::StrAppend(text, "          seen ", DescribeTopology(*report.seen), "\n");
  for (const std::string& difference : report.topology_differences) {
    absl::StrAppend(text, "          ", difference, "\n");
  }
}

void AppendWorkers(const Measurements& measurements, std::string* text) {
  size_t width = 13;
  for (const WorkerMeasurement& worker : measurements.workers) {
    width = std::max(width, WorkerName(measurements, worker).size());
  }
  absl::StrAppendFormat(text, "\n%-*s %15s %10s %12s %11s  %s\n", width, "cgroup/worker",
                        "iterations", "run time", "longest gap", "migrations", "CPUs used");
  size_t rows = 0;
  for (const WorkerMeasurement& worker : measurements.workers) {
    if (++rows > kMostRows) {
      absl::StrAppendFormat(text, "... and %d more workers (--json has all)\n",
                            measurements.workers.size() - kMostRows);
      break;
    }
    absl::StrAppendFormat(text, "%-*s %15s %10s %12s %11s  %s\n", width,
                          WorkerName(measurements, worker), Grouped(worker.iterations),
                          DurationText(absl::Nanoseconds(worker.run_ns)),
                          DurationText(absl::Nanoseconds(worker.max_gap_ns)),
                          Grouped(worker.migrations), worker.cpus_used.ToString());
  }
}

// One line per work group (and role in it) that was woken or asked for something.
void AppendLatencies(const Measurements& measurements, std::string* text) {
  struct Sum {
    Histogram wakeup, response;
  };
  std::map<std::string, Sum> sums;
  for (const WorkerMeasurement& worker : measurements.workers) {
    if (worker.wakeup.empty() && worker.response.empty()) continue;
    Sum& sum = sums[absl::StrCat(worker.cgroup, " ", worker.work, ": ", worker.kind,
                                 worker.role.empty() ? "" : " ", worker.role)];
    sum.wakeup.Merge(worker.wakeup);
    sum.response.Merge(worker.response);
  }
  const auto line = [&](const std::string& name, const char* what, const Histogram& histogram) {
    if (histogram.empty()) return;
    const auto at = [&](double quantile) {
      return DurationText(absl::Nanoseconds(histogram.Quantile(quantile)));
    };
    absl::StrAppendFormat(text, "%-32s %-8s %12s %10s %10s %10s %10s\n", name, what,
                          Grouped(histogram.count()), at(0.5), at(0.99), at(0.999), at(1));
  };
  if (sums.empty()) return;
  absl::StrAppendFormat(text, "\n%-32s %-8s %12s %10s %10s %10s %10s\n", "latency of", "", "times",
                        "p50", "p99", "p99.9", "longest");
  for (const auto& [name, sum] : sums) {
    line(name, "wake-up", sum.wakeup);
    line(name, "response", sum.response);
  }
}

const SchedulerMeasurement* MeasuredScheduler(const RunReport& report) {
  return report.measurements.has_value() && report.measurements->scheduler.has_value()
             ? &*report.measurements->scheduler
             : nullptr;
}

json WorkersJson(const Measurements& measurements) {
  json workers = json::array();
  for (const WorkerMeasurement& worker : measurements.workers) {
    json object = fields::ToJson(worker);
    object["name"] = WorkerName(measurements, worker);
    workers.push_back(std::move(object));
  }
  return workers;
}

json GuestJson(const RunReport& report) {
  json guest;
  guest["kernel_release"] = report.hello->kernel_release;
  guest["kernel_version"] = report.hello->kernel_version;
  guest["cpus_online"] = report.hello->cpus_online;
  guest["cmdline"] = report.hello->cmdline;
  guest["agent_transport"] = report.hello->transport;
  if (!report.seen.has_value()) return guest;
  guest["topology"] = fields::ToJson(*report.seen);
  guest["topology_text"] = DescribeTopology(*report.seen);
  guest["topology_differences"] = report.topology_differences;
  return guest;
}

json HostJson(const RunReport& report) {
  json vcpus = json::array();
  for (const HostNoise::Total& total : report.noise) {
    vcpus.push_back({{"ran_ns", absl::ToInt64Nanoseconds(total.ran)},
                     {"run_delay_ns", absl::ToInt64Nanoseconds(total.run_delay)},
                     {"involuntary_switches", total.involuntary_switches}});
  }
  return {{"lane", report.lane}, {"vcpus", std::move(vcpus)}};
}

}  // namespace

std::string DurationText(absl::Duration duration) {
  const double seconds = absl::ToDoubleSeconds(duration);
  if (seconds >= 1) return absl::StrFormat("%.2f s", seconds);
  if (seconds >= 0.001) return absl::StrFormat("%.1f ms", seconds * 1e3);
  return absl::StrFormat("%.0f us", seconds * 1e6);
}

std::string TextReport(const RunReport& report) {
  std::string text = absl::StrCat(FirstLine(report.finding), "\n");
  if (report.scenario.has_value()) {
    absl::StrAppend(&text, "scenario  ", report.scenario->name, ": ", report.scenario->summary,
                    " (", DurationText(report.scenario->duration), ")\n");
  }
  const SchedulerMeasurement* measured = MeasuredScheduler(report);
  if (report.scheduler.has_value()) absl::StrAppend(&text, SchedulerLine(*report.scheduler, measured));
  for (const DumpRecord& dump : report.dumps) absl::StrAppend(&text, DescribeDump(dump), "\n");
  AppendGuest(report, &text);
  if (measured != nullptr) absl::StrAppend(&text, DebugDumpText(*measured));
  if (report.measurements.has_value() && !report.measurements->workers.empty()) {
    AppendWorkers(*report.measurements, &text);
    AppendLatencies(*report.measurements, &text);
  }
  absl::StrAppend(&text, TimeLineText(report.steps));
  if (!report.expectations.empty()) absl::StrAppend(&text, "\n");
  for (const ExpectationReport& expectation : report.expectations) {
    absl::StrAppendFormat(&text, "%-4s %s: %s\n", expectation.held ? "ok" : "NOT", expectation.name,
                          expectation.text);
  }
  if (!report.default_limits.empty()) absl::StrAppend(&text, report.default_limits, "\n");
  for (const std::string& warning : report.warnings) {
    absl::StrAppend(&text, "warning: ", OneLine(warning), "\n");
  }
  if (report.finding.verdict != Verdict::kPass && report.scheduler.has_value()) {
    absl::StrAppend(&text, SchedulerOutputText(*report.scheduler));
  }
  if (report.finding.verdict != Verdict::kPass && !report.console_tail.empty()) {
    absl::StrAppend(&text, "\nlast lines of the guest's console:\n");
    for (const std::string& line : report.console_tail) absl::StrAppend(&text, "  | ", line, "\n");
  }
  if (report.machine_end.has_value() && !report.machine_end->registers.empty()) {
    absl::StrAppend(&text, "\nregisters of vCPU ", report.machine_end->vcpu, ":\n",
                    report.machine_end->registers, "\n");
  }
  return text;
}

json JsonReport(const RunReport& report) {
  json object;
  object["format"] = kFormat;
  object["verdict"] = std::string(VerdictName(report.finding.verdict));
  object["exit_code"] = report.finding.exit_code();
  object["layer"] = std::string(LayerName(report.finding.layer));
  object["message"] = report.finding.what;
  object["to_do"] = report.finding.to_do;
  object["machine"] = {{"topology", report.asked.ToString()},
                       {"topology_text", DescribeTopology(report.asked)},
                       {"cpus", report.asked.cpus()},
                       {"memory_bytes", report.memory_bytes},
                       {"kernel", report.kernel_path},
                       {"discovery", report.discovery},
                       {"discovery_reason", report.discovery_reason},
                       {"cmdline", report.cmdline}};
  object["host"] = HostJson(report);
  if (!report.disks.empty()) object["disks"] = report.disks;
  object["times"] = {{"to_first_run_ns", absl::ToInt64Nanoseconds(report.to_first_run)},
                     {"to_hello_ns", absl::ToInt64Nanoseconds(report.to_hello)},
                     {"total_ns", absl::ToInt64Nanoseconds(report.total)}};
  if (report.scenario.has_value()) object["scenario"] = fields::ToJson(*report.scenario);
  if (report.hello.has_value()) object["guest"] = GuestJson(report);
  if (report.measurements.has_value()) {
    object["start_ns"] = report.measurements->start_ns;
    object["end_ns"] = report.measurements->end_ns;
    object["workers"] = WorkersJson(*report.measurements);
    object["phases"] = fields::ToJson(report.measurements->phases);
    object["marks_ns"] = report.measurements->marks_ns;
    object["groups"] = fields::ToJson(report.measurements->groups);
    object["calibration_ns"] = report.measurements->calibration_ns;
    if (report.measurements->imbalance.has_value()) {
      object["imbalance"] = fields::ToJson(*report.measurements->imbalance);
    }
    if (report.measurements->scx_events.has_value()) {
      object["scx_events"] = *report.measurements->scx_events;
    }
  }
  if (!report.samples.is_null()) object["samples"] = report.samples;
  if (!report.monitor.is_null()) object["monitor"] = report.monitor;
  if (report.scheduler.has_value()) {
    object["scheduler"] = SchedulerJson(*report.scheduler, MeasuredScheduler(report));
  }
  if (!report.steps.empty()) object["steps"] = fields::ToJson(report.steps);
  if (!report.default_limits.empty()) object["default_limits"] = report.default_limits;
  json expectations = json::array();
  for (const ExpectationReport& expectation : report.expectations) {
    expectations.push_back(
        {{"name", expectation.name}, {"held", expectation.held}, {"text", expectation.text}});
  }
  object["expectations"] = std::move(expectations);
  if (report.machine_end.has_value()) {
    object["end"] = {{"kind", std::string(EndKindName(report.machine_end->kind))},
                     {"vcpu", report.machine_end->vcpu},
                     {"message", report.machine_end->message},
                     {"registers", report.machine_end->registers}};
  }
  json alarms = json::array();
  for (const ConsoleAlarm& alarm : report.alarms) {
    alarms.push_back({{"kind", std::string(ConsoleAlarmName(alarm.kind))}, {"line", alarm.line}});
  }
  object["alarms"] = std::move(alarms);
  json dumps = json::array();
  for (const DumpRecord& dump : report.dumps) {
    json entry = {{"trigger", dump.trigger}, {"path", dump.path}};
    if (!dump.error.empty()) entry["error"] = dump.error;
    entry["memory_bytes"] = dump.memory_bytes;
    entry["complete"] = dump.complete;
    dumps.push_back(std::move(entry));
  }
  object["dumps"] = std::move(dumps);
  object["console_tail"] = report.console_tail;
  object["warnings"] = report.warnings;
  return object;
}

absl::Status WriteJsonReport(const RunReport& report, const std::string& path) {
  // A guest's text may be no UTF-8: replaced, not thrown about.
  const std::string text =
      JsonReport(report).dump(2, ' ', false, nlohmann::json::error_handler_t::replace);
  return WriteFileAtomically(path, absl::StrCat(text, "\n"));
}

}  // namespace stasis
