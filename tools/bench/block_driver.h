// LeanDriver: a driver of one queue that costs next to nothing, so that a benchmark shows the
// device.
#ifndef STASIS_TOOLS_BENCH_BLOCK_DRIVER_H_
#define STASIS_TOOLS_BENCH_BLOCK_DRIVER_H_

#include <cstdint>
#include <vector>

#include "vmm/memory/guest_memory.h"

namespace stasis::bench {

// Keeps up to `depth` 4 KiB reads in flight, each in a slot with descriptors of its own that are
// written once. EVENT_IDX and INDIRECT_DESC are negotiated. One thread.
class LeanDriver {
 public:
  static constexpr uint16_t kSize = 256;  // requests: each is one descriptor with an indirect table
  static constexpr uint64_t kDescriptors = 0x10000;
  static constexpr uint64_t kAvail = 0x20000;
  static constexpr uint64_t kUsed = 0x30000;

  LeanDriver(const GuestMemory* memory, uint16_t depth);

  uint16_t depth() const { return depth_; }
  // Makes as many requests available as came back since the last call (at first, `depth`). True if
  // the device wants to be notified of them.
  bool Refill();
  // How many requests came back since the last call.
  uint16_t Reap();

 private:
  const GuestMemory* const memory_;
  const uint16_t depth_;
  std::vector<uint16_t> free_;  // heads
  uint16_t avail_ = 0;
  uint16_t used_ = 0;
};

}  // namespace stasis::bench

#endif  // STASIS_TOOLS_BENCH_BLOCK_DRIVER_H_
