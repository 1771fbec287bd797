#include "guest/work/compute.h"

#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

namespace stasis::work {
namespace {

constexpr int kRounds = 2000;
constexpr uint64_t kLongestChunks = 4;

}  // namespace

void Compute() {
  uint64_t x = 88172645463325252u;
  for (int i = 0; i < kRounds; ++i) {
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    asm volatile("" : "+r"(x));
  }
}

void ComputeFor(uint64_t ns, Worker* worker) {
  if (ns == 0) return;
  uint64_t last = worker->meter.Tick();
  uint64_t shortest = UINT64_MAX;
  uint64_t spent = 0;
  while (spent < ns && !worker->stopped()) {
    Compute();
    const uint64_t now = worker->meter.Tick();
    shortest = std::min(shortest, std::max<uint64_t>(now - last, 1));
    // A chunk that took much longer than another one did not run all the time.
    spent += std::min(now - last, kLongestChunks * shortest);
    last = now;
  }
}

void WaitWhile(std::atomic<uint32_t>* word, uint32_t old, Meter* meter) {
  meter->BeginWait();
  while (word->load(std::memory_order_acquire) == old) {
    syscall(SYS_futex, word, FUTEX_WAIT, old, nullptr, nullptr, 0);
  }
  meter->EndWait();
}

void WakeAll(std::atomic<uint32_t>* word) {
  syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

}  // namespace stasis::work
