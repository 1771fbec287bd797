// The scheduler's part of a scenario's report.
#ifndef STASIS_TOOLS_HARNESS_SCHEDULER_REPORT_H_
#define STASIS_TOOLS_HARNESS_SCHEDULER_REPORT_H_

#include <optional>
#include <string>

#include "guest/scenario/scheduler_spec.h"
#include "guest/wire/messages.h"
#include "nlohmann/json.hpp"

namespace stasis {

// Of a run whose scenario names a scheduler.
struct SchedulerReport {
  std::string command;
  std::string output[2];  // of its stdout and stderr; what was left out is marked
  std::string last_seen;  // by the last sample: "enabled simple"; what is left when the guest dies
};

void AddOutput(const wire::SchedulerOutput& output, SchedulerReport* report);

// The line of the report's head; `measured` is null when the guest did not come to a result.
std::string SchedulerLine(const SchedulerReport& report, const SchedulerMeasurement* measured);

// The first lines of the kernel's debug dump, if there is one.
std::string DebugDumpText(const SchedulerMeasurement& measured);

// The last lines that its program printed, without the debug dump.
std::string SchedulerOutputText(const SchedulerReport& report);

nlohmann::json SchedulerJson(const SchedulerReport& report, const SchedulerMeasurement* measured);

}  // namespace stasis

#endif  // STASIS_TOOLS_HARNESS_SCHEDULER_REPORT_H_
