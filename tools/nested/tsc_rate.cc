#include "tools/nested/tsc_rate.h"

#include <time.h>

#include <limits>

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

namespace stasis::nested {
namespace {

constexpr int64_t kLeastNs = 20'000'000;
constexpr int kTries = 50;

int64_t MonotonicNs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * int64_t{1'000'000'000} + now.tv_nsec;
}

}  // namespace

// The pair that was read in the least time: one that an interrupt tore apart is longer.
TscRate::Sample TscRate::Read() {
  Sample best;
#if defined(__x86_64__)
  uint64_t shortest = std::numeric_limits<uint64_t>::max();
  for (int i = 0; i < kTries; ++i) {
    const uint64_t before = __rdtsc();
    const int64_t ns = MonotonicNs();
    const uint64_t took = __rdtsc() - before;
    if (took >= shortest) continue;
    shortest = took;
    best = {before + took / 2, ns};
  }
#endif
  return best;
}

uint32_t TscRate::Khz() const {
  if (begin_.ticks == 0) return 0;
  const int64_t left = begin_.ns + kLeastNs - MonotonicNs();
  if (left > 0) {
    const timespec pause = {0, left};
    nanosleep(&pause, nullptr);
  }
  const Sample end = Read();
  return static_cast<uint32_t>(static_cast<double>(end.ticks - begin_.ticks) * 1e6 /
                                   static_cast<double>(end.ns - begin_.ns) +
                               0.5);
}

}  // namespace stasis::nested
