#include "guest/agent/cgroups.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "guest/agent/system.h"

namespace stasis::agent {
namespace {

constexpr char kParent[] = "stasis";

struct Controller {
  const char* name;
  const char* option;
};

std::vector<Controller> NeededControllers(const Scenario& scenario) {
  bool cpuset = false, cpu = false, memory = false;
  for (const CgroupSpec& cgroup : scenario.cgroups) {
    cpuset |= !cgroup.cpus.empty();
    cpu |= cgroup.weight.has_value() || cgroup.max.has_value();
    memory |= cgroup.memory_max_bytes.has_value();
  }
  for (const StepSpec& step : scenario.steps) {
    for (const Action& action : step.actions) {
      cpuset |= action.kind == ActionKind::kSetCpus;
      cpu |= action.kind == ActionKind::kSetWeight || action.kind == ActionKind::kSetMax;
      memory |= action.kind == ActionKind::kSetMemoryMax;
    }
  }
  std::vector<Controller> needed;
  if (cpuset) needed.push_back({"cpuset", "CONFIG_CPUSETS"});
  if (cpu) needed.push_back({"cpu", "CONFIG_CGROUP_SCHED"});
  if (memory) needed.push_back({"memory", "CONFIG_MEMCG"});
  return needed;
}

absl::Status MakeDirectory(const std::string& path) {
  if (mkdir(path.c_str(), 0755) == 0 || errno == EEXIST) return absl::OkStatus();
  return absl::ErrnoToStatus(errno, absl::StrCat("mkdir ", path));
}

absl::Status EnableBelow(const std::string& path, const std::vector<const char*>& controllers) {
  for (const char* controller : controllers) {
    absl::Status status =
        WriteText(path + "/cgroup.subtree_control", absl::StrCat("+", controller));
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace

std::string Cgroups::PathOf(const std::string& name) const {
  return absl::StrCat(root_, "/", kParent, "/", name);
}

absl::Status Cgroups::Prepare(const Scenario& scenario) {
  auto controllers = ReadText(absl::StrCat(root_, "/cgroup.controllers"));
  if (!controllers.ok()) {
    return absl::UnimplementedError("this kernel has no cgroup v2 (CONFIG_CGROUPS)");
  }
  const std::vector<std::string> offered =
      absl::StrSplit(*controllers, ' ', absl::SkipWhitespace());
  std::vector<Controller> wanted = NeededControllers(scenario);
  for (const Controller& controller : wanted) {
    if (std::find(offered.begin(), offered.end(), controller.name) == offered.end()) {
      return absl::UnimplementedError(absl::StrCat("this kernel has no cgroup v2 controller '",
                                                   controller.name, "' (", controller.option, ")"));
    }
  }
  // Groups of equal weight share the CPUs as groups do on real machines, where this one is on.
  if (std::find(offered.begin(), offered.end(), "cpu") != offered.end() &&
      std::none_of(wanted.begin(), wanted.end(),
                   [](const Controller& c) { return absl::string_view(c.name) == "cpu"; })) {
    wanted.push_back({"cpu", ""});
  }
  const std::string parent = absl::StrCat(root_, "/", kParent);
  absl::Status status = MakeDirectory(parent);
  if (!status.ok()) return status;
  made_.push_back(parent);
  for (const Controller& controller : wanted) controllers_.push_back(controller.name);
  status = EnableBelow(root_, controllers_);
  if (status.ok()) status = EnableBelow(parent, controllers_);
  return status;
}

absl::Status Cgroups::Write(const std::string& name, const char* file, const std::string& value) {
  return WriteText(absl::StrCat(PathOf(name), "/", file), value);
}

absl::Status Cgroups::SetCpus(const std::string& name, const CpuSet& cpus) {
  return Write(name, "cpuset.cpus", cpus.ToString());
}

absl::Status Cgroups::SetWeight(const std::string& name, uint32_t weight) {
  return Write(name, "cpu.weight", absl::StrCat(weight));
}

absl::Status Cgroups::SetMax(const std::string& name, const std::optional<CpuMax>& max) {
  return Write(name, "cpu.max",
               max.has_value() ? absl::StrCat(absl::ToInt64Microseconds(max->quota), " ",
                                              absl::ToInt64Microseconds(max->period))
                               : "max");
}

absl::Status Cgroups::SetMemoryMax(const std::string& name, const std::optional<uint64_t>& bytes) {
  return Write(name, "memory.max", bytes.has_value() ? absl::StrCat(*bytes) : "max");
}

absl::Status Cgroups::Create(const CgroupSpec& spec, const CpuSet& cpus) {
  const std::string path = PathOf(spec.name);
  // The parent hands on what it has got; it has no processes of its own.
  absl::Status status;
  if (const std::string parent = ParentOf(spec.name); !parent.empty()) {
    status = EnableBelow(PathOf(parent), controllers_);
  }
  if (status.ok()) status = MakeDirectory(path);
  if (!status.ok()) return status;
  made_.push_back(path);
  if (!spec.cpus.empty()) status = SetCpus(spec.name, cpus);
  if (status.ok() && spec.weight.has_value()) status = SetWeight(spec.name, *spec.weight);
  if (status.ok() && spec.max.has_value()) status = SetMax(spec.name, spec.max);
  if (status.ok() && spec.memory_max_bytes.has_value()) {
    status = SetMemoryMax(spec.name, spec.memory_max_bytes);
  }
  return status;
}

absl::Status Cgroups::AddProcess(const std::string& name, pid_t pid) {
  return Write(name, "cgroup.procs", absl::StrCat(pid));
}

absl::Status Cgroups::Freeze(const std::string& name) {
  absl::Status status = Write(name, "cgroup.freeze", "1");
  if (!status.ok()) return status;
  const uint64_t give_up_ns = MonotonicNs() + kPatienceNs;
  while (true) {
    auto events = ReadText(PathOf(name) + "/cgroup.events");
    if (!events.ok()) return events.status();
    if (absl::StrContains(*events, "frozen 1")) return absl::OkStatus();
    if (MonotonicNs() > give_up_ns) {
      return absl::DeadlineExceededError(
          absl::StrCat("cgroup '", name, "' did not freeze within ", kPatienceNs / 1000000000,
                       " s: a process in it does not get to run"));
    }
    usleep(500);
  }
}

absl::Status Cgroups::Thaw(const std::string& name) { return Write(name, "cgroup.freeze", "0"); }

absl::Status Cgroups::Remove(const std::string& name) {
  const std::string path = PathOf(name);
  const uint64_t give_up_ns = MonotonicNs() + kPatienceNs;
  // A process that was reaped may still be on its way out of the cgroup.
  while (rmdir(path.c_str()) != 0) {
    if (errno != EBUSY && errno != EINTR) {
      return absl::ErrnoToStatus(errno, absl::StrCat("rmdir ", path));
    }
    if (MonotonicNs() > give_up_ns) {
      return absl::DeadlineExceededError(
          absl::StrCat("cgroup '", name, "' was not free for removal within ",
                       kPatienceNs / 1000000000, " s: a process in it does not get to its end"));
    }
    usleep(500);
  }
  made_.erase(std::remove(made_.begin(), made_.end(), path), made_.end());
  return absl::OkStatus();
}

void Cgroups::RemoveAll() {
  for (auto it = made_.rbegin(); it != made_.rend(); ++it) rmdir(it->c_str());
  made_.clear();
}

}  // namespace stasis::agent
