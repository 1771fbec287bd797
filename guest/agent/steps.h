// Steps: carries out what a scenario changes over time.
#ifndef STASIS_GUEST_AGENT_STEPS_H_
#define STASIS_GUEST_AGENT_STEPS_H_

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "guest/agent/cgroups.h"
#include "guest/agent/workers.h"
#include "guest/scenario/measurements.h"
#include "guest/scenario/scenario.h"
#include "guest/scenario/step_state.h"

namespace stasis::agent {

// Also starts what is there from the beginning. Main thread only; what it is given outlives it.
class Steps {
 public:
  struct Context {
    const Scenario* scenario;
    const CpuGroups* cpus;
    Cgroups* cgroups;
    Workers* workers;
    std::string cpu_root = "/sys/devices/system/cpu";
    std::function<absl::Status()> request_dump;
    // switch_scheduler and restart_scheduler.
    std::function<absl::Status(const Action&)> change_scheduler;
    std::function<void()> cpus_changed;  // plug_cpus and unplug_cpus, after each CPU
  };
  explicit Steps(Context context);
  ~Steps();
  Steps(const Steps&) = delete;
  Steps& operator=(const Steps&) = delete;

  // Makes the cgroups and workers of the start; the workers wait. Errors: as for a step.
  absl::Status SetUp();

  // When the next step is due, since the start of the run; nothing after the last one.
  std::optional<uint64_t> NextNs() const;
  // Carries it out, at once and in any case; the run began at `start_ns`. The error of its first
  // action that could not be done is in the result and in status(): Unimplemented or
  // FailedPrecondition (the kernel lacks something), DeadlineExceeded (the scheduler does not let
  // somebody run), else errno.
  StepMeasurement RunNext(uint64_t start_ns);
  const std::vector<StepMeasurement>& done() const { return done_; }

  // OK, or why the scenario cannot go on: of a step, or of a program that a step ran.
  const absl::Status& status() const { return status_; }
  // True if `pid` was a program of a step.
  bool OnChildExit(pid_t pid, int wait_status);

 private:
  struct Program {
    pid_t pid = -1;
    int output = -1;  // a file in memory
    std::string name;  // "step 2 (run /bin/true)"
  };
  absl::Status Do(const Action& action, const std::string& step);
  absl::Status AddCgroup(const std::string& name);
  absl::Status RemoveCgroup(const std::string& name);
  absl::Status StartWork(size_t cgroup, size_t work);
  absl::Status SetOnline(const std::string& cpus, bool online);
  absl::Status Start(const Action& action, const std::string& step);
  // Hands on to the workers what the state says of their CPUs.
  absl::Status UpdateAllowed();
  void UpdateFrozen(uint64_t now);
  template <typename Function>
  absl::Status ForWork(const std::string& name, Function function);
  const CgroupSpec* SpecOf(const std::string& cgroup) const;

  const Context context_;
  StepState state_;
  std::vector<StepMeasurement> done_;
  std::vector<Program> programs_;
  absl::Status status_;
};

}  // namespace stasis::agent

#endif  // STASIS_GUEST_AGENT_STEPS_H_
