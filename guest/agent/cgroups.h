// Cgroups: the cgroup v2 tree of a scenario.
#ifndef STASIS_GUEST_AGENT_CGROUPS_H_
#define STASIS_GUEST_AGENT_CGROUPS_H_

#include <sys/types.h>

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "guest/scenario/cpu_set.h"
#include "guest/scenario/scenario.h"

namespace stasis::agent {

// <root>/stasis/<name> for each cgroup of the scenario. Main thread only.
class Cgroups {
 public:
  // `root` is where cgroup2 is mounted.
  explicit Cgroups(std::string root) : root_(std::move(root)) {}
  ~Cgroups() { Remove(); }
  Cgroups(const Cgroups&) = delete;
  Cgroups& operator=(const Cgroups&) = delete;

  // Switches on the controllers that the scenario needs. Errors: Unimplemented when the kernel
  // lacks cgroup v2 or a controller (named, with the option to set), else errno.
  absl::Status Prepare(const Scenario& scenario);

  // Errors: errno with file and value.
  absl::Status Create(const CgroupSpec& spec, const CpuSet& cpus);
  absl::Status AddProcess(const std::string& name, pid_t pid);

  // Removes what was made; the processes must have ended.
  void Remove();

 private:
  std::string PathOf(const std::string& name) const;

  const std::string root_;
  std::vector<std::string> made_;  // paths, outermost first
};

}  // namespace stasis::agent

#endif  // STASIS_GUEST_AGENT_CGROUPS_H_
