#include "devices/block/throttle.h"

#include <algorithm>
#include <cmath>

namespace stasis {

TokenBucket::TokenBucket(uint64_t rate, uint64_t burst, Time now)
    : rate_(rate), burst_(burst == 0 ? rate : burst), tokens_(burst_), filled_(now) {}

void TokenBucket::Refill(Time now) {
  tokens_ = burst_;
  filled_ = now;
}

std::chrono::nanoseconds TokenBucket::Delay(uint64_t tokens, Time now) {
  if (rate_ == 0) return std::chrono::nanoseconds(0);
  if (now > filled_) {  // threads read the clock before they take the lock
    const std::chrono::duration<double> passed = now - filled_;
    tokens_ = std::min(burst_, tokens_ + passed.count() * rate_);
    filled_ = now;
  }
  // A full bucket is enough for anybody: the rest becomes debt.
  const double missing = std::min<double>(tokens, burst_) - tokens_;
  if (missing <= 0) return std::chrono::nanoseconds(0);
  // Whole nanoseconds, and one more against rounding: who waits that long finds the tokens there.
  const double wait = std::ceil(missing / rate_ * 1e9) + 1;
  return std::chrono::nanoseconds(static_cast<int64_t>(std::min(wait, 1e18)));
}

void TokenBucket::Spend(uint64_t tokens) {
  if (rate_ != 0) tokens_ -= static_cast<double>(tokens);
}

Throttle::Throttle(const ThrottleLimits& limits, Time now)
    : limited_(limits.limited()),
      ops_(limits.ops_per_second, limits.ops_burst, now),
      bytes_(limits.bytes_per_second, limits.bytes_burst, now) {}

std::chrono::nanoseconds Throttle::Take(uint64_t bytes, Time now) {
  if (!limited_) return std::chrono::nanoseconds(0);
  std::lock_guard<std::mutex> lock(mutex_);
  // Both before either is spent.
  const std::chrono::nanoseconds delay = std::max(ops_.Delay(1, now), bytes_.Delay(bytes, now));
  if (delay.count() > 0) return std::min(delay, kMaxWait);
  ops_.Spend(1);
  bytes_.Spend(bytes);
  return delay;
}

void Throttle::Refill(Time now) {
  std::lock_guard<std::mutex> lock(mutex_);
  ops_.Refill(now);
  bytes_.Refill(now);
}

}  // namespace stasis
