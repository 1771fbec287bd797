// ScenarioVerdict: from the evidence of a scenario run to its verdict. Pure.
#ifndef STASIS_TOOLS_HARNESS_SCENARIO_VERDICT_H_
#define STASIS_TOOLS_HARNESS_SCENARIO_VERDICT_H_

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "guest/scenario/measurements.h"
#include "guest/scenario/scenario.h"
#include "tools/harness/console_log.h"
#include "tools/harness/report.h"
#include "tools/harness/verdict.h"

namespace stasis {

struct ScenarioEvidence {
  std::optional<Finding> early;  // the run could not be carried out: the agent or harness says why
  std::optional<Finding> guest_end;  // what is wrong with how the guest ended, if anything is
  std::vector<ConsoleAlarm> alarms;
  std::optional<Measurements> measurements;
  std::optional<Finding> monitor;  // what the host saw of the scheduler while the guest ran
  bool emulated = false;  // default limits are scaled by the calibration run
  // The longest run delay of the vCPU threads of `cpus` between two instants of the guest's clock.
  std::function<absl::Duration(const CpuSet& cpus, uint64_t from_ns, uint64_t to_ns)> host_delay;
};

struct ScenarioVerdict {
  Finding finding;
  std::vector<ExpectationReport> expectations;
  std::vector<std::string> warnings;
  std::string default_limits;  // one line on those that were used; "": none was
};

// In this order: what the monitor found, unless an expectation failed that speaks of something else
// than waiting; an expectation that did not hold is a failure, unless the host explains it; a guest
// that crashed or hung, or an agent that gave up; alarms of the kernel; no result; pass.
//
// The host explains
//   max_gap     when, of every gap above the limit, no more than the limit is left after the run
//               delay of the vCPUs that the worker may use, in the window of that gap
//   scheduler   when the kernel's watchdog ended it for a stall, and all but a tenth of the time that
//               the task did not run is run delay of some vCPU
//   all others for which the table of expectations says so (expect_table.cc)
//               when some vCPU thread waited for more than a tenth of the run
// and then the verdict is inconclusive. So it is when the kernel does not provide what is expected.
ScenarioVerdict JudgeScenario(const Scenario& scenario, const ScenarioEvidence& evidence);

}  // namespace stasis

#endif  // STASIS_TOOLS_HARNESS_SCENARIO_VERDICT_H_
