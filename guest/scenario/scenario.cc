#include "guest/scenario/scenario.h"

#include <algorithm>

namespace stasis {

absl::Span<const fields::EnumName<SchedPolicy>> EnumNames(SchedPolicy) {
  static constexpr fields::EnumName<SchedPolicy> kNames[] = {
      {SchedPolicy::kNormal, "normal"}, {SchedPolicy::kBatch, "batch"},
      {SchedPolicy::kIdle, "idle"},     {SchedPolicy::kFifo, "fifo"},
      {SchedPolicy::kRoundRobin, "rr"},
  };
  return kNames;
}

std::string ParentOf(const std::string& cgroup) {
  const size_t slash = cgroup.rfind('/');
  return slash == std::string::npos ? "" : cgroup.substr(0, slash);
}

bool IsWithin(const std::string& cgroup, const std::string& ancestor) {
  return cgroup == ancestor || (cgroup.size() > ancestor.size() &&
                                cgroup.compare(0, ancestor.size(), ancestor) == 0 &&
                                cgroup[ancestor.size()] == '/');
}

uint32_t WorkerCount(const Scenario& scenario) {
  uint64_t count = 0;
  const auto add_cgroup = [&count](const CgroupSpec& cgroup) {
    for (const WorkSpec& work : cgroup.work) count += work.at_start ? work.workers : 0;
  };
  for (const CgroupSpec& cgroup : scenario.cgroups) {
    if (cgroup.at_start) add_cgroup(cgroup);
  }
  for (const StepSpec& step : scenario.steps) {
    for (const Action& action : step.actions) {
      for (const CgroupSpec& cgroup : scenario.cgroups) {
        if (action.kind == ActionKind::kAddCgroup && cgroup.name == action.target) {
          add_cgroup(cgroup);
        }
        for (const WorkSpec& work : cgroup.work) {
          if (action.kind == ActionKind::kStartWork && work.name == action.target) {
            count += work.workers;
          }
        }
      }
    }
  }
  return static_cast<uint32_t>(std::min<uint64_t>(count, UINT32_MAX));
}

bool Means(const std::string& of, const std::string& cgroup, const WorkSpec& work) {
  return IsWithin(cgroup, of) || (!work.name.empty() && work.name == of);
}

std::vector<SchedulerSpec*> SchedulersOf(Scenario* scenario) {
  std::vector<SchedulerSpec*> schedulers;
  if (scenario->scheduler.has_value()) schedulers.push_back(&*scenario->scheduler);
  for (StepSpec& step : scenario->steps) {
    for (Action& action : step.actions) {
      if (action.scheduler.has_value()) schedulers.push_back(&*action.scheduler);
    }
  }
  return schedulers;
}

std::vector<std::string> ProgramsOf(const Scenario& scenario) {
  std::vector<std::string> programs;
  for (const CgroupSpec& cgroup : scenario.cgroups) {
    for (const WorkSpec& work : cgroup.work) {
      if (work.kind == WorkKind::kCommand) programs.push_back(work.command[0]);
    }
  }
  for (const StepSpec& step : scenario.steps) {
    for (const Action& action : step.actions) {
      if (action.kind == ActionKind::kRun) programs.push_back(action.command[0]);
    }
  }
  return programs;
}

}  // namespace stasis
