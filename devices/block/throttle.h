// Throttle: a disk's limits on operations and bytes per second (rule B9).
#ifndef STASIS_DEVICES_BLOCK_THROTTLE_H_
#define STASIS_DEVICES_BLOCK_THROTTLE_H_

#include <chrono>
#include <cstdint>
#include <mutex>

#include "absl/base/thread_annotations.h"

namespace stasis {

struct ThrottleLimits {
  uint64_t ops_per_second = 0;    // 0: no limit
  uint64_t bytes_per_second = 0;  // 0: no limit
  uint64_t ops_burst = 0;         // 0: one second's worth
  uint64_t bytes_burst = 0;       // 0: one second's worth

  bool limited() const { return ops_per_second != 0 || bytes_per_second != 0; }
};

// Fills with `rate` tokens a second up to `burst`. A bucket may be in debt: who asks for more than
// it can ever hold gets it when it is full, and the next one waits longer. Not thread-safe.
class TokenBucket {
 public:
  using Time = std::chrono::steady_clock::time_point;

  // A rate of 0 is no limit. Starts full.
  TokenBucket(uint64_t rate, uint64_t burst, Time now);

  void Refill(Time now);
  // How long until `tokens` may be spent; zero: now.
  std::chrono::nanoseconds Delay(uint64_t tokens, Time now);
  // To be called after Delay gave zero for the same arguments.
  void Spend(uint64_t tokens);

 private:
  const double rate_;   // tokens per second
  const double burst_;  // the most that it holds
  double tokens_;       // negative: debt
  Time filled_;         // when tokens_ was true
};

// Both buckets, shared by all queues of a disk. Any thread.
class Throttle {
 public:
  using Time = TokenBucket::Time;

  Throttle(const ThrottleLimits& limits, Time now);

  // Spends one operation and `bytes` and returns zero; or spends nothing and returns how long to
  // wait before asking again, at most kMaxWait.
  std::chrono::nanoseconds Take(uint64_t bytes, Time now);
  // Both buckets full, for a reset (rule R7).
  void Refill(Time now);

  static constexpr std::chrono::nanoseconds kMaxWait = std::chrono::seconds(1);

 private:
  const bool limited_;
  std::mutex mutex_;
  TokenBucket ops_ ABSL_GUARDED_BY(mutex_);
  TokenBucket bytes_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace stasis

#endif  // STASIS_DEVICES_BLOCK_THROTTLE_H_
