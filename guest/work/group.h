// WorkGroup: workers that belong together, and what they share besides their slots.
#ifndef STASIS_GUEST_WORK_GROUP_H_
#define STASIS_GUEST_WORK_GROUP_H_

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "guest/scenario/cpu_set.h"
#include "guest/scenario/work_spec.h"
#include "guest/work/meter.h"
#include "guest/work/slot.h"

namespace stasis::work {

// What partners tell each other; in a cache line of its own.
struct alignas(128) Mailbox {
  std::atomic<uint32_t> word{0};  // a futex
  std::atomic<uint64_t> time_ns{0};
};

// One worker's view, in its process.
struct Worker {
  const WorkSpec& spec;
  const CpuSet& allowed;
  uint32_t index;  // in the group
  Control* control;
  WorkerSlot* slots;   // of the group
  Mailbox* mailboxes;  // one per worker, then one for all
  int files[2];        // pipe_ping: to read from and to write to; io_sync: the file, -1
  Meter meter;

  bool stopped() const { return control->stop.load(std::memory_order_relaxed); }
  WorkerSlot& slot(uint32_t i) { return slots[i]; }
  Mailbox& mailbox(uint32_t i) { return mailboxes[i]; }
  Mailbox& common() { return mailboxes[spec.workers]; }
};

// Made by the agent before its workers are forked, and kept until they have ended. One thread.
class WorkGroup {
 public:
  // The workers report in slots `first`, first + 1, ... of `arena`. `spec` and `arena` must outlive
  // the group. Errors: what the kind needs and is not there (FailedPrecondition, with what to do),
  // else errno.
  static absl::StatusOr<std::unique_ptr<WorkGroup>> Create(const WorkSpec& spec,
                                                           const CpuSet& allowed, SlotArena* arena,
                                                           size_t first);
  ~WorkGroup();
  WorkGroup(const WorkGroup&) = delete;
  WorkGroup& operator=(const WorkGroup&) = delete;

  // Forks worker `index`, to be called for 0, 1, ... in order. It waits for the next go, works until
  // stop, exits with 0, also on SIGTERM, and dies with its parent, its own children with it. Error:
  // errno.
  absl::StatusOr<pid_t> Fork(uint32_t index);

 private:
  WorkGroup(const WorkSpec& spec, const CpuSet& allowed, SlotArena* arena, size_t first)
      : spec_(spec), allowed_(allowed), arena_(*arena), first_(first) {}
  absl::Status MakeMailboxes();
  absl::Status OpenFile();
  absl::Status OpenPipes();
  void ClosePipes();
  [[noreturn]] void RunInChild(uint32_t index, pid_t parent, uint32_t go);

  const WorkSpec& spec_;
  const CpuSet allowed_;
  SlotArena& arena_;
  const size_t first_;
  Mailbox* mailboxes_ = nullptr;
  size_t mailbox_bytes_ = 0;
  int file_ = -1;
  int pipes_[2][2] = {{-1, -1}, {-1, -1}};  // of the pair that is being forked
};

}  // namespace stasis::work

#endif  // STASIS_GUEST_WORK_GROUP_H_
