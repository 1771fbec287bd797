// MonitorPolicy: which of the monitor's findings a scenario makes legal. Pure.
#ifndef STASIS_TOOLS_HARNESS_MONITOR_POLICY_H_
#define STASIS_TOOLS_HARNESS_MONITOR_POLICY_H_

#include "guest/scenario/scenario.h"
#include "tools/monitor/detectors.h"

namespace stasis {

// A scenario that expects gaps of no more than a longer time allows them.
MonitorLimits LimitsFor(const Scenario& scenario, const MonitorLimits& limits);

// Whether the scenario is there to show such a thing, or asks for it itself.
bool IsLegal(const Scenario& scenario, const MonitorFinding& finding);

}  // namespace stasis

#endif  // STASIS_TOOLS_HARNESS_MONITOR_POLICY_H_
