// TscRate: how fast this machine's time-stamp counter runs, which is the emulated host's as well.
#ifndef STASIS_TOOLS_NESTED_TSC_RATE_H_
#define STASIS_TOOLS_NESTED_TSC_RATE_H_

#include <cstdint>

namespace stasis::nested {

// Measures from its construction to the call of Khz. QEMU without icount gives its guest the host's
// own counter (cpu_get_host_ticks).
class TscRate {
 public:
  TscRate() : begin_(Read()) {}

  // Ticks per millisecond of CLOCK_MONOTONIC, to some parts in a million. Waits until 20 ms have
  // gone by since the construction. 0 where there is no such counter.
  uint32_t Khz() const;

 private:
  struct Sample {
    uint64_t ticks = 0;
    int64_t ns = 0;
  };
  static Sample Read();

  const Sample begin_;
};

}  // namespace stasis::nested

#endif  // STASIS_TOOLS_NESTED_TSC_RATE_H_
