// FullFence: orders everything before it against everything behind it, for all threads.
#ifndef STASIS_VMM_BASE_FULL_FENCE_H_
#define STASIS_VMM_BASE_FULL_FENCE_H_

#include <atomic>

namespace stasis {

// ThreadSanitizer does not model fences (and gcc warns); a read-modify-write is one on every host.
inline void FullFence() {
#ifdef __SANITIZE_THREAD__
  static std::atomic<int> barrier{0};
  barrier.fetch_add(1, std::memory_order_seq_cst);
#else
  std::atomic_thread_fence(std::memory_order_seq_cst);
#endif
}

}  // namespace stasis

#endif  // STASIS_VMM_BASE_FULL_FENCE_H_
