// The workers' clock: CLOCK_MONOTONIC in ns, by the vDSO without a system call.
#ifndef STASIS_GUEST_WORK_CLOCK_H_
#define STASIS_GUEST_WORK_CLOCK_H_

#include <time.h>

#include <cstdint>

namespace stasis::work {

inline uint64_t ClockNs(clockid_t clock) {
  timespec now;
  clock_gettime(clock, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000000000u + static_cast<uint64_t>(now.tv_nsec);
}

inline uint64_t NowNs() { return ClockNs(CLOCK_MONOTONIC); }

}  // namespace stasis::work

#endif  // STASIS_GUEST_WORK_CLOCK_H_
