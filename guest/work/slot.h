// The figures of one worker, in memory that the worker and the agent share.
#ifndef STASIS_GUEST_WORK_SLOT_H_
#define STASIS_GUEST_WORK_SLOT_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "guest/scenario/cpu_set.h"
#include "guest/scenario/histogram.h"

namespace stasis::work {

// A histogram.h in shared memory. One writer at a time, no system calls.
struct SharedHistogram {
  std::atomic<uint64_t> counts[Histogram::kBuckets]{};

  void Record(uint64_t ns) {
    std::atomic<uint64_t>& count = counts[Histogram::BucketOf(ns)];
    count.store(count.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }
  Histogram Read() const;
};

// Values of wants_cpu_since_ns for a worker that does not want the CPU, later than any time.
inline constexpr uint64_t kWaitsForPartner = UINT64_MAX;
inline constexpr uint64_t kWaitsForDevice = UINT64_MAX - 1;

// Written by its worker only (but see wants_cpu_since_ns and cpus_used), read by the agent at any time: every
// field by itself is whole, two fields need not be of the same moment. In its own cache lines, so
// that workers do not slow each other down. Times are CLOCK_MONOTONIC in ns.
struct alignas(128) WorkerSlot {
  // The worker wants the CPU since then and has not had it, as far as it knows: its last look at
  // the clock, or, in a sleep, the time at which that sleep ends. now - wants_cpu_since_ns, when
  // positive, is the gap that is going on at the moment. A worker that waits for a partner has
  // kWaitsForPartner here until that partner is about to wake it, which writes the time
  // (StampWakeUp): from then on it wants the CPU, whether it comes to run or not.
  std::atomic<uint64_t> wants_cpu_since_ns{0};
  std::atomic<uint64_t> waits_since_ns{0};  // when it last began to wait for a partner or device
  std::atomic<uint64_t> iterations{0};
  std::atomic<uint64_t> run_ns{0};  // its own CPU time, at most 10 ms old while it runs
  std::atomic<uint64_t> max_gap_ns{0};
  std::atomic<uint64_t> gap_at_ns{0};  // when the longest gap began
  std::atomic<uint32_t> gap_cpu{0};    // where the worker found itself after it
  std::atomic<uint32_t> cpu{0};        // where it was last
  std::atomic<uint64_t> migrations{0};
  std::atomic<bool> started{false};
  // Set by the worker, taken out by the agent when a new phase begins.
  std::atomic<uint64_t> cpus_used[CpuSet::kMaxCpus / 64]{};
  SharedHistogram wakeup;    // from a wake-up, or the end of a sleep, until it ran
  SharedHistogram response;  // from asking for something until it was done; by kinds that say so
};

// What all workers of a run look at.
struct alignas(128) Control {
  std::atomic<uint32_t> go{0};  // a futex: how often workers were let go
  std::atomic<bool> stop{false};
};

// Shared memory for a run; made before the workers are forked, freed by its owner after they ended.
class SlotArena {
 public:
  // Error: errno of mmap with the size.
  static absl::StatusOr<std::unique_ptr<SlotArena>> Create(size_t workers);
  ~SlotArena();
  SlotArena(const SlotArena&) = delete;
  SlotArena& operator=(const SlotArena&) = delete;

  Control& control() { return *control_; }
  WorkerSlot& slot(size_t index) { return slots_[index]; }
  size_t size() const { return count_; }

  // Lets all waiting workers go. Their first gap, that of slots `first` and up, counts from here.
  void Go(size_t first = 0);

 private:
  SlotArena(void* memory, size_t bytes, size_t count);

  void* const memory_;
  const size_t bytes_;
  const size_t count_;
  Control* control_;
  WorkerSlot* slots_;
};

}  // namespace stasis::work

#endif  // STASIS_GUEST_WORK_SLOT_H_
