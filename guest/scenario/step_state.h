// StepState: what a scenario's steps have made of its cgroups, work and CPUs so far.
//
// The parser walks through all steps with it, to refuse what cannot be done; the agent keeps one as
// it carries steps out, to know who may run where.
#ifndef STASIS_GUEST_SCENARIO_STEP_STATE_H_
#define STASIS_GUEST_SCENARIO_STEP_STATE_H_

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "guest/scenario/cpu_set.h"
#include "guest/scenario/scenario.h"

namespace stasis {

class StepState {
 public:
  // The state at the start. Without `groups` CPUs are not checked, and must not be asked for. Both
  // outlive this.
  StepState(const Scenario& scenario, const CpuGroups* groups);

  // Error: InvalidArgument (the action makes no sense at this point, and why). Then nothing has
  // changed.
  absl::Status Apply(const Action& action);

  bool HasCgroup(const std::string& name) const { return cgroups_.count(name) != 0; }
  bool IsFrozen(const std::string& name) const;  // itself, or a cgroup above
  // The cgroup in which work runs; "" when it does not. `work` as in Scenario.
  const std::string& PlaceOf(size_t cgroup, size_t work) const { return place_[cgroup][work]; }

  // CPUs that are not unplugged.
  CpuSet online() const { return groups_->online.Without(unplugged_); }
  // What cgroup v2 lets a cgroup use (cpuset.cpus.effective): its CPUs that its parent has and that
  // are online; its parent's when there is none of these.
  CpuSet CpusOf(const std::string& cgroup) const;
  // What a worker may use: in its cgroup, those of its affinity `cpus` (an expression); all when
  // there is none of these, as the kernel does it.
  CpuSet CpusOf(const std::string& cgroup, const std::string& cpus) const;
  // The CPUs of an expression, those that are unplugged included.
  CpuSet Resolved(const std::string& cpus) const;

  // Whether the cgroup's CPUs exist and its parent has any of them. Error: InvalidArgument.
  absl::Status CheckCpus(const std::string& cgroup) const;

 private:
  struct Cgroup {
    std::string cpus;
    bool frozen = false;
  };
  absl::Status NeedCgroup(const std::string& name) const;
  absl::Status AddCgroup(const std::string& name);
  absl::Status RemoveCgroup(const std::string& name);
  absl::Status SetCpus(const std::string& name, const std::string& cpus);
  absl::Status SetFrozen(const std::string& name, bool frozen);
  absl::Status StartWork(const std::string& name);
  absl::Status StopWork(const std::string& name);
  absl::Status MoveWork(const std::string& name, const std::string& to);
  absl::Status Unplug(const std::string& cpus);
  absl::Status Plug(const std::string& cpus);
  void StartWorkOf(size_t cgroup);
  bool HasChildren(const std::string& name) const;
  // Where work of that name is in the scenario; the parser has seen to it that it is somewhere.
  std::string* PlaceOfWork(const std::string& name, size_t* cgroup);

  const Scenario& scenario_;
  const CpuGroups* const groups_;
  std::map<std::string, Cgroup> cgroups_;        // those that are there
  std::vector<std::vector<std::string>> place_;  // by cgroup and work
  CpuSet unplugged_;
};

}  // namespace stasis

#endif  // STASIS_GUEST_SCENARIO_STEP_STATE_H_
