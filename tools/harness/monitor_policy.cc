#include "tools/harness/monitor_policy.h"

#include <algorithm>
#include <optional>
#include <string>

#include "guest/scenario/scheduler_judge.h"

namespace stasis {

MonitorLimits LimitsFor(const Scenario& scenario, const MonitorLimits& limits) {
  MonitorLimits result = limits;
  // A scenario that allows longer gaps allows them.
  for (const std::optional<absl::Duration>& longest :
       {scenario.expect.max_gap, scenario.expect.max_stall}) {
    if (longest.has_value()) result.stall = std::max(result.stall, *longest);
  }
  return result;
}

bool IsLegal(const Scenario& scenario, const MonitorFinding& finding) {
  const std::optional<std::string>& should_fail = scenario.expect.should_fail;
  if (should_fail.has_value() &&
      (IsSchedulerFailure(*should_fail) || *should_fail == "max_gap" ||
       *should_fail == "max_stall" || *should_fail == "max_imbalance")) {
    return true;
  }
  if (finding.severity != Severity::kNote) return false;
  // Whoever confines work to CPUs knows that the others are free.
  const auto confines = [](const CgroupSpec& cgroup) {
    return !cgroup.cpus.empty() ||
           std::any_of(cgroup.work.begin(), cgroup.work.end(),
                       [](const WorkSpec& work) { return !work.cpus.empty(); });
  };
  return std::any_of(scenario.cgroups.begin(), scenario.cgroups.end(), confines);
}

}  // namespace stasis
