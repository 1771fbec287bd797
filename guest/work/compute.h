// The computing that all kinds do, and waiting on a futex.
#ifndef STASIS_GUEST_WORK_COMPUTE_H_
#define STASIS_GUEST_WORK_COMPUTE_H_

#include <atomic>
#include <cstdint>

#include "absl/time/time.h"
#include "guest/work/group.h"

namespace stasis::work {

// A worker that cannot go on exits with this; the reason is the kernel's refusal of what it asked.
inline constexpr int kExitRefused = 3;

inline uint64_t Ns(absl::Duration duration) {
  return static_cast<uint64_t>(absl::ToInt64Nanoseconds(duration));
}

// A fixed amount of integer work that the compiler cannot drop: some microseconds on a CPU of
// today, some tens on an emulated one.
void Compute();

// Computes for `ns` of CPU time, about: what is spent waiting for the CPU does not count, without
// a system call to ask. Ends early when the worker is stopped.
void ComputeFor(uint64_t ns, Worker* worker);

// Waits, as for a partner, until `word` is no longer `old`.
void WaitWhile(std::atomic<uint32_t>* word, uint32_t old, Meter* meter);
void WakeAll(std::atomic<uint32_t>* word);

// xorshift: the same sequence on every run.
inline uint64_t NextRandom(uint64_t* state) {
  *state ^= *state << 13;
  *state ^= *state >> 7;
  *state ^= *state << 17;
  return *state;
}
inline uint64_t SeedOf(const Worker& worker) {
  return 88172645463325252u + 0x9e3779b97f4a7c15u * (worker.index + 1);
}

}  // namespace stasis::work

#endif  // STASIS_GUEST_WORK_COMPUTE_H_
