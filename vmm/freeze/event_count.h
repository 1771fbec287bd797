// EventCount: a counter that threads wait on with a futex (rule F6).
#ifndef STASIS_VMM_FREEZE_EVENT_COUNT_H_
#define STASIS_VMM_FREEZE_EVENT_COUNT_H_

#include <atomic>
#include <cstdint>

#include "absl/time/time.h"

namespace stasis {

// Waits on `word` while it holds `seen`, `most` at most (InfiniteDuration: for good). Also returns
// after a signal or by chance: callers look again.
void FutexWait(const std::atomic<uint32_t>& word, uint32_t seen, absl::Duration most);
void FutexWakeAll(const std::atomic<uint32_t>& word);

// Any thread. What was stored before Notify is seen by who finds the count changed.
class EventCount {
 public:
  uint32_t value() const { return count_.load(std::memory_order_acquire); }

  void Notify() {
    count_.fetch_add(1, std::memory_order_acq_rel);
    FutexWakeAll(count_);
  }

  // Returns when the count is no longer `seen`, or after `most`, or by chance.
  void Wait(uint32_t seen, absl::Duration most) const { FutexWait(count_, seen, most); }

 private:
  std::atomic<uint32_t> count_{0};
};

}  // namespace stasis

#endif  // STASIS_VMM_FREEZE_EVENT_COUNT_H_
