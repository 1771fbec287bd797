// The workload generators: what a worker process does between fork and exit.
#ifndef STASIS_GUEST_WORK_WORKER_H_
#define STASIS_GUEST_WORK_WORKER_H_

#include <sys/types.h>

#include "absl/status/statusor.h"
#include "guest/scenario/scenario.h"
#include "guest/work/slot.h"

namespace stasis::work {

// Keeps a worker's slot up to date. Gaps: between two looks at the clock the worker computes for
// some microseconds; what is longer is time in which it was runnable and did not run. A kind that
// sleeps says when it means to be back, and only what comes after that is a gap.
class Meter {
 public:
  explicit Meter(WorkerSlot* slot) : slot_(*slot) {}

  // To be called often. Returns the time.
  uint64_t Tick();
  // After a sleep that was to end at `deadline_ns`.
  void SleepUntil(uint64_t deadline_ns);
  void CountIteration();

 private:
  void NoteCpu(uint32_t cpu);

  WorkerSlot& slot_;
  uint64_t next_run_time_ns_ = 0;
  uint32_t last_cpu_ = UINT32_MAX;
};

// Waits for control->go, then works until control->stop. Allocates nothing.
void RunWorker(const WorkSpec& spec, Control* control, WorkerSlot* slot);

// Forks a process that runs RunWorker and exits with 0. The child has default signal handling and
// dies with its parent. `spec`, `control` and `slot` must outlive it. Error: errno of fork.
absl::StatusOr<pid_t> ForkWorker(const WorkSpec& spec, Control* control, WorkerSlot* slot);

}  // namespace stasis::work

#endif  // STASIS_GUEST_WORK_WORKER_H_
