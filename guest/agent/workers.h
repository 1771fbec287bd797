// Workers: the worker processes of a run, and their figures.
#ifndef STASIS_GUEST_AGENT_WORKERS_H_
#define STASIS_GUEST_AGENT_WORKERS_H_

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "guest/agent/cgroups.h"
#include "guest/scenario/measurements.h"
#include "guest/scenario/scenario.h"
#include "guest/wire/messages.h"
#include "guest/work/group.h"
#include "guest/work/slot.h"

namespace stasis::agent {

// Work is named by the indices of its cgroup and of itself in the scenario. Each time that it is
// started it gets new processes, slots and figures. Main thread only.
class Workers {
 public:
  // With slots for all that the scenario and its steps ever start. `scenario` and `cgroups` outlive
  // this. Errors: InvalidArgument (too many), errno.
  static absl::StatusOr<std::unique_ptr<Workers>> Create(const Scenario& scenario,
                                                         Cgroups* cgroups);
  ~Workers() { KillAll(); }
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

  // Makes the processes of work in `place` (a cgroup), where they may use `allowed`; they wait for
  // Go. Errors: those of WorkGroup, errno.
  absl::Status Fork(size_t cgroup, size_t work, const std::string& place, const CpuSet& allowed);
  // Lets all go that were made since the last time.
  void Go(uint64_t now);

  // Kills work that runs. Error: DeadlineExceeded (a worker does not die: it does not get to run).
  absl::Status Stop(size_t cgroup, size_t work, uint64_t now);
  absl::Status Move(size_t cgroup, size_t work, const std::string& place);
  // What they may use from now on; with an affinity of their own, that is set anew.
  absl::Status SetAllowed(size_t cgroup, size_t work, const CpuSet& allowed);
  // Behind a freeze, and in front of a thaw: frozen time is no gap.
  void SetFrozen(size_t cgroup, size_t work, bool frozen, uint64_t now);

  void Sample(uint64_t now);
  wire::WorkerSamples Samples(uint64_t now) const;
  bool anyone_left() const;
  // True if `pid` was a worker.
  bool OnChildExit(pid_t pid, int wait_status);
  // Waited for, as far as they are let run to their end.
  void KillAll();

  // A phase (measurements.h) begins, after a sample.
  void BeginPhase(uint32_t steps, uint64_t now);
  // It is over, if there is one; after a sample.
  void EndPhase(uint64_t now);
  bool in_phase() const { return phase_.has_value(); }

  struct Worker {
    size_t group;   // index in groups_
    pid_t pid = -1;  // -1: gone
    bool frozen = false;
    uint64_t frozen_since_ns = 0;
    CpuSet allowed;  // now
    bool in_phase = false;
    uint64_t phase_iterations = 0;  // when it began
    uint64_t phase_run_ns = 0;
    WorkerMeasurement figures;
  };
  const std::vector<Worker>& all() const { return workers_; }
  // Alive, let go, not frozen, and it wants the CPU.
  bool WantsCpu(const Worker& worker, uint64_t now) const;

  std::vector<WorkerMeasurement> Figures() const;
  const std::vector<PhaseMeasurement>& phases() const { return phases_; }

 private:
  struct Group {
    size_t cgroup, work;
    std::unique_ptr<work::WorkGroup> group;
    size_t first;  // of its workers
    bool live = true;
  };
  Workers(const Scenario& scenario, Cgroups* cgroups) : scenario_(scenario), cgroups_(*cgroups) {}
  const WorkSpec& SpecOf(const Worker& worker) const;
  // The workers of work that runs.
  absl::Span<Worker> Of(size_t cgroup, size_t work);
  absl::Status StartWorker(Group* group, uint32_t member, const std::string& place,
                           const CpuSet& allowed);
  // True when all are gone.
  bool Reap(absl::Span<Worker> workers, uint64_t give_up_ns);

  const Scenario& scenario_;
  Cgroups& cgroups_;
  std::unique_ptr<work::SlotArena> arena_;
  std::vector<Group> groups_;
  std::vector<Worker> workers_;
  size_t let_go_ = 0;  // so many of them
  std::optional<PhaseMeasurement> phase_;
  std::vector<PhaseMeasurement> phases_;
};

}  // namespace stasis::agent

#endif  // STASIS_GUEST_AGENT_WORKERS_H_
