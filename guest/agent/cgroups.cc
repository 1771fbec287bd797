#include "guest/agent/cgroups.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

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
  bool cpuset = false, cpu = false;
  for (const CgroupSpec& cgroup : scenario.cgroups) {
    cpuset |= !cgroup.cpus.empty();
    cpu |= cgroup.weight.has_value() || cgroup.max.has_value();
  }
  std::vector<Controller> needed;
  if (cpuset) needed.push_back({"cpuset", "CONFIG_CPUSETS"});
  if (cpu) needed.push_back({"cpu", "CONFIG_CGROUP_SCHED"});
  return needed;
}

absl::Status MakeDirectory(const std::string& path) {
  if (mkdir(path.c_str(), 0755) == 0 || errno == EEXIST) return absl::OkStatus();
  return absl::ErrnoToStatus(errno, absl::StrCat("mkdir ", path));
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
  for (const std::string& dir : {root_, parent}) {
    for (const Controller& controller : wanted) {
      status = WriteText(absl::StrCat(dir, "/cgroup.subtree_control"),
                         absl::StrCat("+", controller.name));
      if (!status.ok()) return status;
    }
  }
  return absl::OkStatus();
}

absl::Status Cgroups::Create(const CgroupSpec& spec, const CpuSet& cpus) {
  const std::string path = PathOf(spec.name);
  absl::Status status = MakeDirectory(path);
  if (!status.ok()) return status;
  made_.push_back(path);
  if (!spec.cpus.empty()) {
    status = WriteText(path + "/cpuset.cpus", cpus.ToString());
    if (!status.ok()) return status;
  }
  if (spec.weight.has_value()) {
    status = WriteText(path + "/cpu.weight", absl::StrCat(*spec.weight));
    if (!status.ok()) return status;
  }
  if (spec.max.has_value()) {
    return WriteText(path + "/cpu.max",
                     absl::StrCat(absl::ToInt64Microseconds(spec.max->quota), " ",
                                  absl::ToInt64Microseconds(spec.max->period)));
  }
  return absl::OkStatus();
}

absl::Status Cgroups::AddProcess(const std::string& name, pid_t pid) {
  return WriteText(PathOf(name) + "/cgroup.procs", absl::StrCat(pid));
}

void Cgroups::Remove() {
  for (auto it = made_.rbegin(); it != made_.rend(); ++it) rmdir(it->c_str());
  made_.clear();
}

}  // namespace stasis::agent
