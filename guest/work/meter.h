// Meter: keeps a worker's slot up to date, without system calls but for its CPU time.
#ifndef STASIS_GUEST_WORK_METER_H_
#define STASIS_GUEST_WORK_METER_H_

#include <cstdint>

#include "guest/work/slot.h"

namespace stasis::work {

// Gaps: between two looks at the clock the worker computes for some microseconds; what is longer
// is time in which it was runnable and did not run. A kind that sleeps says when it means to be
// back, and only what comes after that is a gap; one that waits for a partner says so, and only
// what comes after the partner's wake-up is one. Belongs to one worker process.
class Meter {
 public:
  explicit Meter(WorkerSlot* slot) : slot_(*slot) {}

  // To be called often. Returns the time.
  uint64_t Tick();
  // Sleeps until `deadline_ns`; what comes after counts as wake-up latency (being frozen does not).
  void SleepUntil(uint64_t deadline_ns);
  // Around a wait for a partner that calls StampWakeUp, or for a device (whose end nobody stamps).
  void BeginWait(uint64_t what = kWaitsForPartner);
  void EndWait();
  void CountIteration();
  // The time since `since_ns` was the response to something that was asked for then.
  void CountResponse(uint64_t since_ns);
  // CPU time of children that ended belongs to the worker.
  void AddChildTime(uint64_t ns) { child_ns_ += ns; }
  // In a child that plays the worker until it exits: its clock of CPU time starts anew.
  void BecomeChild(uint64_t parent_cpu_ns) { child_ns_ = parent_cpu_ns; }
  uint64_t CpuNs() const;
  void StoreRunTime();

 private:
  void NoteCpu(uint32_t cpu);
  void NoteGap(uint64_t since, uint64_t now);

  WorkerSlot& slot_;
  uint64_t next_run_time_ns_ = 0;
  uint64_t child_ns_ = 0;
  uint32_t last_cpu_ = UINT32_MAX;
};

// By the waking worker, before it makes true what `partner` waits for. If the waker itself loses
// the CPU between this and the wake-up, the partner's gap is too long, but no longer than the
// waker's own: the longest gap of the run stays right.
void StampWakeUp(WorkerSlot* partner);

}  // namespace stasis::work

#endif  // STASIS_GUEST_WORK_METER_H_
