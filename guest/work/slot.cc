#include "guest/work/slot.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <climits>
#include <new>

#include "absl/strings/str_cat.h"
#include "guest/work/clock.h"

namespace stasis::work {

Histogram SharedHistogram::Read() const {
  Histogram histogram;
  for (uint32_t bucket = 0; bucket < Histogram::kBuckets; ++bucket) {
    histogram.Add(bucket, counts[bucket].load(std::memory_order_relaxed));
  }
  return histogram;
}

absl::StatusOr<std::unique_ptr<SlotArena>> SlotArena::Create(size_t workers) {
  const size_t bytes = sizeof(Control) + workers * sizeof(WorkerSlot);
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (memory == MAP_FAILED) {
    return absl::ErrnoToStatus(errno, absl::StrCat("mmap of ", bytes, " bytes for the workers"));
  }
  return std::unique_ptr<SlotArena>(new SlotArena(memory, bytes, workers));
}

SlotArena::SlotArena(void* memory, size_t bytes, size_t count)
    : memory_(memory), bytes_(bytes), count_(count) {
  control_ = new (memory) Control();
  auto* first = reinterpret_cast<WorkerSlot*>(static_cast<char*>(memory) + sizeof(Control));
  for (size_t i = 0; i < count; ++i) new (first + i) WorkerSlot();
  slots_ = first;
}

SlotArena::~SlotArena() { munmap(memory_, bytes_); }

void SlotArena::Go(size_t first) {
  const uint64_t now = NowNs();
  for (size_t i = first; i < count_; ++i) {
    slots_[i].wants_cpu_since_ns.store(now, std::memory_order_relaxed);
  }
  control_->go.fetch_add(1, std::memory_order_release);
  syscall(SYS_futex, &control_->go, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

}  // namespace stasis::work
