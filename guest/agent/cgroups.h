// Cgroups: the cgroup v2 tree of a scenario.
#ifndef STASIS_GUEST_AGENT_CGROUPS_H_
#define STASIS_GUEST_AGENT_CGROUPS_H_

#include <sys/types.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "guest/scenario/cpu_set.h"
#include "guest/scenario/scenario.h"

namespace stasis::agent {

// <root>/stasis/<name> for each cgroup of the scenario. Main thread only. Errors of all calls:
// errno with file and value, else as said.
class Cgroups {
 public:
  // `root` is where cgroup2 is mounted.
  explicit Cgroups(std::string root) : root_(std::move(root)) {}
  ~Cgroups() { RemoveAll(); }
  Cgroups(const Cgroups&) = delete;
  Cgroups& operator=(const Cgroups&) = delete;

  // Switches on the controllers that the scenario and its steps need. Errors: Unimplemented when
  // the kernel lacks cgroup v2 or a controller (named, with the option to set).
  absl::Status Prepare(const Scenario& scenario);

  // Its parent is there. `cpus` are those of spec.cpus.
  absl::Status Create(const CgroupSpec& spec, const CpuSet& cpus);
  absl::Status AddProcess(const std::string& name, pid_t pid);

  absl::Status SetCpus(const std::string& name, const CpuSet& cpus);
  absl::Status SetWeight(const std::string& name, uint32_t weight);
  absl::Status SetMax(const std::string& name, const std::optional<CpuMax>& max);
  absl::Status SetMemoryMax(const std::string& name, const std::optional<uint64_t>& bytes);

  // Waits until every process in it stands still. Error: DeadlineExceeded, after kPatienceNs.
  absl::Status Freeze(const std::string& name);
  absl::Status Thaw(const std::string& name);

  // Its processes have ended; waits until the kernel is done with them. Error: DeadlineExceeded.
  absl::Status Remove(const std::string& name);
  // All that were made; the processes must have ended.
  void RemoveAll();

  // What a scheduler that lets everybody run keeps by far, on an emulated host as well.
  static constexpr uint64_t kPatienceNs = 5000000000;

 private:
  std::string PathOf(const std::string& name) const;
  absl::Status Write(const std::string& name, const char* file, const std::string& value);

  const std::string root_;
  std::vector<const char*> controllers_;  // that every cgroup of the scenario has
  std::vector<std::string> made_;         // paths, outermost first
};

}  // namespace stasis::agent

#endif  // STASIS_GUEST_AGENT_CGROUPS_H_
