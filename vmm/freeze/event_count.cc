#include "vmm/freeze/event_count.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>

namespace stasis {
namespace {

static_assert(sizeof(std::atomic<uint32_t>) == sizeof(uint32_t));

const uint32_t* Address(const std::atomic<uint32_t>& word) {
  return reinterpret_cast<const uint32_t*>(&word);
}

}  // namespace

void FutexWait(const std::atomic<uint32_t>& word, uint32_t seen, absl::Duration most) {
  const timespec timeout = absl::ToTimespec(most);
  syscall(SYS_futex, Address(word), FUTEX_WAIT_PRIVATE, seen,
          most == absl::InfiniteDuration() ? nullptr : &timeout, nullptr, 0);
}

void FutexWakeAll(const std::atomic<uint32_t>& word) {
  syscall(SYS_futex, Address(word), FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
}

}  // namespace stasis
