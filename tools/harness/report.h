// Report: what a scenario run showed, as text for people and as JSON for programs.
#ifndef STASIS_TOOLS_HARNESS_REPORT_H_
#define STASIS_TOOLS_HARNESS_REPORT_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "guest/scenario/measurements.h"
#include "guest/scenario/scenario.h"
#include "guest/wire/messages.h"
#include "nlohmann/json.hpp"
#include "tools/harness/console_log.h"
#include "tools/harness/host_noise.h"
#include "tools/harness/incident.h"
#include "tools/harness/scheduler_report.h"
#include "tools/harness/verdict.h"
#include "vmm/topology/topology.h"
#include "vmm/vcpu/machine_end.h"

namespace stasis {

// One line of [expect] and what became of it.
struct ExpectationReport {
  std::string name;  // "max_gap"
  bool held = false;
  std::string text;  // "12.0 ms at left/0, limit 2 s"
};

// Filled in as far as the run came; everything absent is left out of both forms.
struct RunReport {
  Finding finding;
  std::optional<Scenario> scenario;
  std::string lane;  // "kvm" or "nested"
  std::string kernel_path;
  std::string discovery;  // "acpi"
  std::string discovery_reason;
  std::string cmdline;
  Topology asked;
  uint64_t memory_bytes = 0;
  std::optional<wire::Hello> hello;
  std::optional<wire::Topology> seen;
  std::vector<std::string> topology_differences;
  std::vector<ExpectationReport> expectations;
  std::optional<Measurements> measurements;
  nlohmann::json samples;  // SampleLog::ToJson; null: fewer than two came
  nlohmann::json monitor;  // GuestSession::monitor; null: there was none
  std::optional<SchedulerReport> scheduler;
  std::vector<StepMeasurement> steps;  // as they were told, also of a run without measurements
  std::string default_limits;          // one line on limits that the scenario does not write
  std::vector<HostNoise::Total> noise;  // per vCPU
  std::optional<MachineEnd> machine_end;
  std::vector<ConsoleAlarm> alarms;
  std::vector<std::string> console_tail;
  std::vector<std::string> warnings;
  std::vector<DumpRecord> dumps;
  nlohmann::json disks = nlohmann::json::array();  // GuestDisks::Report
  absl::Duration to_first_run;
  absl::Duration to_hello;
  absl::Duration total;
};

// Several lines, the first one being FirstLine(finding). Ends in a newline.
std::string TextReport(const RunReport& report);

// The object described in docs/result-json.md.
nlohmann::json JsonReport(const RunReport& report);

// JsonReport as a file, whole or not at all. Error: errno with the path.
absl::Status WriteJsonReport(const RunReport& report, const std::string& path);

// "12.3 ms", "1.50 s".
std::string DurationText(absl::Duration duration);

}  // namespace stasis

#endif  // STASIS_TOOLS_HARNESS_REPORT_H_
