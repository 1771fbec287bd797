#include "guest/scenario/step_state.h"

#include "absl/strings/str_cat.h"

namespace stasis {
namespace {

absl::Status No(const std::string& what) { return absl::InvalidArgumentError(what); }

}  // namespace

StepState::StepState(const Scenario& scenario, const CpuGroups* groups)
    : scenario_(scenario), groups_(groups) {
  for (const CgroupSpec& cgroup : scenario.cgroups) {
    place_.emplace_back(cgroup.work.size());
    if (cgroup.at_start) cgroups_[cgroup.name].cpus = cgroup.cpus;
  }
  for (size_t i = 0; i < scenario.cgroups.size(); ++i) {
    if (scenario.cgroups[i].at_start) StartWorkOf(i);
  }
}

void StepState::StartWorkOf(size_t cgroup) {
  const CgroupSpec& spec = scenario_.cgroups[cgroup];
  for (size_t work = 0; work < spec.work.size(); ++work) {
    if (spec.work[work].at_start) place_[cgroup][work] = spec.name;
  }
}

absl::Status StepState::NeedCgroup(const std::string& name) const {
  if (HasCgroup(name)) return absl::OkStatus();
  return No(absl::StrCat("cgroup '", name, "' is not there at that time"));
}

bool StepState::HasChildren(const std::string& name) const {
  for (const auto& [other, state] : cgroups_) {
    if (ParentOf(other) == name) return true;
  }
  return false;
}

bool StepState::IsFrozen(const std::string& name) const {
  for (std::string at = name; !at.empty(); at = ParentOf(at)) {
    auto it = cgroups_.find(at);
    if (it != cgroups_.end() && it->second.frozen) return true;
  }
  return false;
}

CpuSet StepState::Resolved(const std::string& cpus) const {
  auto set = ResolveCpus(cpus, *groups_);
  return set.ok() ? *set : CpuSet();
}

CpuSet StepState::CpusOf(const std::string& cgroup) const {
  const std::string parent = ParentOf(cgroup);
  const CpuSet above = parent.empty() ? online() : CpusOf(parent);
  auto it = cgroups_.find(cgroup);
  if (it == cgroups_.end() || it->second.cpus.empty()) return above;
  const CpuSet own = Resolved(it->second.cpus) & above;
  return own.empty() ? above : own;
}

CpuSet StepState::CpusOf(const std::string& cgroup, const std::string& cpus) const {
  const CpuSet all = CpusOf(cgroup);
  if (cpus.empty()) return all;
  const CpuSet own = Resolved(cpus) & all;
  return own.empty() ? all : own;
}

absl::Status StepState::CheckCpus(const std::string& cgroup) const {
  auto it = cgroups_.find(cgroup);
  if (groups_ == nullptr || it == cgroups_.end() || it->second.cpus.empty()) {
    return absl::OkStatus();
  }
  auto own = ResolveCpus(it->second.cpus, *groups_);
  if (!own.ok()) return No(std::string(own.status().message()));
  const std::string parent = ParentOf(cgroup);
  if (parent.empty() || cgroups_.count(parent) == 0) return absl::OkStatus();
  const std::string& above = cgroups_.at(parent).cpus;
  if (above.empty() || !(*own & Resolved(above)).empty()) return absl::OkStatus();
  return No(absl::StrCat("CPUs ", own->ToString(), " of '", cgroup, "' are none of those of '",
                         parent, "', ", Resolved(above).ToString()));
}

absl::Status StepState::AddCgroup(const std::string& name) {
  if (HasCgroup(name)) return No(absl::StrCat("cgroup '", name, "' is there already"));
  if (const std::string parent = ParentOf(name); !parent.empty()) {
    absl::Status status = NeedCgroup(parent);
    if (!status.ok()) return status;
  }
  for (size_t i = 0; i < scenario_.cgroups.size(); ++i) {
    if (scenario_.cgroups[i].name != name) continue;
    cgroups_[name].cpus = scenario_.cgroups[i].cpus;
    absl::Status status = CheckCpus(name);
    if (!status.ok()) {
      cgroups_.erase(name);
      return status;
    }
    // Work of this cgroup that a step moved elsewhere goes on there.
    for (size_t work = 0; work < place_[i].size(); ++work) {
      if (scenario_.cgroups[i].work[work].at_start && place_[i][work].empty()) {
        place_[i][work] = name;
      }
    }
  }
  return absl::OkStatus();
}

absl::Status StepState::RemoveCgroup(const std::string& name) {
  absl::Status status = NeedCgroup(name);
  if (!status.ok()) return status;
  if (HasChildren(name)) {
    return No(absl::StrCat("cgroup '", name, "' has cgroups below it; remove these first"));
  }
  cgroups_.erase(name);
  for (auto& works : place_) {
    for (std::string& place : works) {
      if (place == name) place.clear();
    }
  }
  return absl::OkStatus();
}

absl::Status StepState::SetCpus(const std::string& name, const std::string& cpus) {
  absl::Status status = NeedCgroup(name);
  if (!status.ok()) return status;
  const std::string before = cgroups_[name].cpus;
  cgroups_[name].cpus = cpus;
  for (const auto& [other, state] : cgroups_) {
    if (IsWithin(other, name)) status.Update(CheckCpus(other));
  }
  if (!status.ok()) cgroups_[name].cpus = before;
  return status;
}

absl::Status StepState::SetFrozen(const std::string& name, bool frozen) {
  absl::Status status = NeedCgroup(name);
  if (!status.ok()) return status;
  if (cgroups_[name].frozen == frozen) {
    return No(absl::StrCat("cgroup '", name, "' is ", frozen ? "frozen already" : "not frozen"));
  }
  cgroups_[name].frozen = frozen;
  return absl::OkStatus();
}

std::string* StepState::PlaceOfWork(const std::string& name, size_t* cgroup) {
  for (size_t i = 0; i < scenario_.cgroups.size(); ++i) {
    for (size_t work = 0; work < scenario_.cgroups[i].work.size(); ++work) {
      *cgroup = i;
      if (scenario_.cgroups[i].work[work].name == name) return &place_[i][work];
    }
  }
  return nullptr;
}

absl::Status StepState::StartWork(const std::string& name) {
  size_t cgroup;
  std::string* place = PlaceOfWork(name, &cgroup);
  if (place == nullptr) return No(absl::StrCat("there is no work '", name, "'"));
  if (!place->empty()) return No(absl::StrCat("work '", name, "' runs already"));
  absl::Status status = NeedCgroup(scenario_.cgroups[cgroup].name);
  if (status.ok()) *place = scenario_.cgroups[cgroup].name;
  return status;
}

absl::Status StepState::StopWork(const std::string& name) {
  size_t cgroup;
  std::string* place = PlaceOfWork(name, &cgroup);
  if (place == nullptr) return No(absl::StrCat("there is no work '", name, "'"));
  if (place->empty()) return No(absl::StrCat("work '", name, "' does not run at that time"));
  place->clear();
  return absl::OkStatus();
}

absl::Status StepState::MoveWork(const std::string& name, const std::string& to) {
  size_t cgroup;
  std::string* place = PlaceOfWork(name, &cgroup);
  if (place == nullptr) return No(absl::StrCat("there is no work '", name, "'"));
  if (place->empty()) return No(absl::StrCat("work '", name, "' does not run at that time"));
  absl::Status status = NeedCgroup(to);
  if (!status.ok()) return status;
  if (*place == to) return No(absl::StrCat("work '", name, "' is in '", to, "' already"));
  if (HasChildren(to)) {
    return No(absl::StrCat("cgroup '", to,
                           "' has cgroups below it: cgroup v2 has processes in leaves only"));
  }
  *place = to;
  return absl::OkStatus();
}

absl::Status StepState::Unplug(const std::string& cpus) {
  if (groups_ == nullptr) return absl::OkStatus();
  auto set = ResolveCpus(cpus, *groups_);
  if (!set.ok()) return No(std::string(set.status().message()));
  if (set->Contains(0)) return No("CPU 0 cannot be unplugged; the kernel needs it");
  if (const CpuSet gone = *set & unplugged_; !gone.empty()) {
    return No(absl::StrCat("CPU ", gone.ToString(), " is unplugged already"));
  }
  unplugged_ = unplugged_ | *set;
  return absl::OkStatus();
}

absl::Status StepState::Plug(const std::string& cpus) {
  if (groups_ == nullptr) return absl::OkStatus();
  auto set = ResolveCpus(cpus, *groups_);
  if (!set.ok()) return No(std::string(set.status().message()));
  if (const CpuSet there = set->Without(unplugged_); !there.empty()) {
    return No(absl::StrCat("CPU ", there.ToString(), " is not unplugged at that time"));
  }
  unplugged_ = unplugged_.Without(*set);
  return absl::OkStatus();
}

absl::Status StepState::Apply(const Action& action) {
  switch (action.kind) {
    case ActionKind::kSetCpus:
      return SetCpus(action.target, action.cpus);
    case ActionKind::kSetWeight:
    case ActionKind::kSetMax:
    case ActionKind::kSetMemoryMax:
      return NeedCgroup(action.target);
    case ActionKind::kAddCgroup:
      return AddCgroup(action.target);
    case ActionKind::kRemoveCgroup:
      return RemoveCgroup(action.target);
    case ActionKind::kFreezeCgroup:
      return SetFrozen(action.target, true);
    case ActionKind::kThawCgroup:
      return SetFrozen(action.target, false);
    case ActionKind::kStartWork:
      return StartWork(action.target);
    case ActionKind::kStopWork:
      return StopWork(action.target);
    case ActionKind::kMoveWork:
      return MoveWork(action.target, action.to);
    case ActionKind::kUnplugCpus:
      return Unplug(action.cpus);
    case ActionKind::kPlugCpus:
      return Plug(action.cpus);
    case ActionKind::kRun:
    case ActionKind::kSnapshot:
    case ActionKind::kSwitchScheduler:
    case ActionKind::kRestartScheduler:
      return absl::OkStatus();
  }
  return absl::OkStatus();
}

}  // namespace stasis
