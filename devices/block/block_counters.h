// BlockCounters: what a disk has done since it was made (rule B10).
#ifndef STASIS_DEVICES_BLOCK_BLOCK_COUNTERS_H_
#define STASIS_DEVICES_BLOCK_BLOCK_COUNTERS_H_

#include <atomic>
#include <cstdint>

namespace stasis {

// Written by the workers of all queues, read from any thread without a lock. They outlive resets
// (rule R7). Interrupts, notifications and poisonings are in the QueueCounters of each queue.
struct BlockCounters {
  std::atomic<uint64_t> reads{0};  // completed with success, as the next five
  std::atomic<uint64_t> writes{0};
  std::atomic<uint64_t> flushes{0};
  std::atomic<uint64_t> discards{0};
  std::atomic<uint64_t> write_zeroes{0};
  std::atomic<uint64_t> get_ids{0};
  std::atomic<uint64_t> bytes_read{0};
  std::atomic<uint64_t> bytes_written{0};
  std::atomic<uint64_t> io_errors{0};         // of the backing file
  std::atomic<uint64_t> invalid_requests{0};  // refused before they reached it
  std::atomic<uint64_t> throttle_events{0};   // requests that had to wait
  std::atomic<uint64_t> throttle_pending{0};  // gauge: requests that wait now
};

}  // namespace stasis

#endif  // STASIS_DEVICES_BLOCK_BLOCK_COUNTERS_H_
