// ScenarioRun: carries a scenario out in a guest session and comes to a verdict.
#ifndef STASIS_TOOLS_HARNESS_SCENARIO_RUN_H_
#define STASIS_TOOLS_HARNESS_SCENARIO_RUN_H_

#include <functional>
#include <string>

#include "guest/scenario/scenario.h"
#include "tools/harness/guest_session.h"
#include "tools/harness/guest_setup.h"
#include "tools/harness/incident.h"
#include "tools/harness/progress.h"
#include "tools/harness/report.h"

namespace stasis {

struct ScenarioRunOptions {
  bool verbose = false;       // the guest's console on stderr
  std::string append;         // to the kernel command line
  std::string lane;           // for the report
  absl::Duration time_limit;  // of the guest's whole life; zero: by the scenario's duration
  bool emulated = false;  // the host of this program: default limits of expectations are scaled
  // Emulated hosts are slow: limits that guard against hangs are multiplied.
  double patience = 1;
  absl::Duration boot_limit = absl::Seconds(60);
  DumpSettings dump;
  MonitorSettings monitor = {.hz = 0};
};

// The limit of a guest's whole life when none is asked for.
absl::Duration DefaultTimeLimit(const Scenario& scenario, double patience);

// Blocks until the guest is gone. Never passes without evidence: the agent's result over the whole
// duration, from a guest of the topology that was asked for, every expectation held, no alarm on
// the console and a guest that ended as it was told.
RunReport RunScenario(const Scenario& scenario, const GuestSetup& setup,
                      const ScenarioRunOptions& options, ProgressLine* progress);

}  // namespace stasis

#endif  // STASIS_TOOLS_HARNESS_SCENARIO_RUN_H_
