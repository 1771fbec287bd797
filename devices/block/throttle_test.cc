#include "devices/block/throttle.h"

#include <gtest/gtest.h>

#include <chrono>
#include <random>

namespace stasis {
namespace {

using namespace std::chrono_literals;
using Time = Throttle::Time;
constexpr Time kStart{};
constexpr auto kNow = std::chrono::nanoseconds(0);

TEST(ThrottleTest, WithoutLimitsNothingWaits) {
  Throttle throttle({}, kStart);
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(throttle.Take(1 << 30, kStart), kNow);
}

TEST(ThrottleTest, B9_TheBurstIsOneSecondsWorthByDefault) {
  Throttle throttle({.ops_per_second = 10}, kStart);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(throttle.Take(512, kStart), kNow) << i;
  EXPECT_GT(throttle.Take(512, kStart), kNow);
}

TEST(ThrottleTest, B9_TheDelayIsEnough) {
  Throttle throttle({.ops_per_second = 7, .bytes_per_second = 1000, .ops_burst = 1}, kStart);
  Time now = kStart;
  for (int i = 0; i < 100; ++i) {
    const auto wait = throttle.Take(300, now);
    if (wait == kNow) continue;
    now += wait;
    EXPECT_EQ(throttle.Take(300, now), kNow) << i;
  }
}

TEST(ThrottleTest, B9_BothBucketsAreCheckedBeforeEitherIsSpent) {
  // One second later there is an operation but not the bytes: refused calls must not eat the
  // operation.
  Throttle slow({.ops_per_second = 1, .bytes_per_second = 100, .bytes_burst = 200}, kStart);
  EXPECT_EQ(slow.Take(200, kStart), kNow);
  for (int i = 0; i < 5; ++i) EXPECT_GT(slow.Take(200, kStart + 1s), kNow);
  EXPECT_EQ(slow.Take(100, kStart + 1s), kNow);
}

TEST(ThrottleTest, B9_ARequestLargerThanTheBurstGoesIntoDebt) {
  Throttle throttle({.bytes_per_second = 1000}, kStart);
  EXPECT_EQ(throttle.Take(5000, kStart), kNow);        // the bucket was full
  EXPECT_GT(throttle.Take(1, kStart + 3999ms), kNow);  // pays for four seconds
  EXPECT_EQ(throttle.Take(1, kStart + 4002ms), kNow);
}

TEST(ThrottleTest, B9_NobodyIsToldToWaitLongerThanOneSecond) {
  Throttle throttle({.bytes_per_second = 1}, kStart);
  EXPECT_EQ(throttle.Take(1 << 30, kStart), kNow);
  EXPECT_EQ(throttle.Take(512, kStart), Throttle::kMaxWait);
}

TEST(ThrottleTest, R7_RefillGivesOneBurstAndNoMore) {
  Throttle throttle({.ops_per_second = 3}, kStart);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(throttle.Take(0, kStart), kNow);
  throttle.Refill(kStart);
  throttle.Refill(kStart);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(throttle.Take(0, kStart), kNow);
  EXPECT_GT(throttle.Take(0, kStart), kNow);
}

TEST(ThrottleTest, AClockThatGoesBackFillsNothing) {
  Throttle throttle({.ops_per_second = 1}, kStart + 10s);
  EXPECT_EQ(throttle.Take(0, kStart + 10s), kNow);
  EXPECT_GT(throttle.Take(0, kStart), kNow);
  EXPECT_EQ(throttle.Take(0, kStart + 11s), kNow);
}

// Over a long time the rate is the limit, for any mix of sizes, and never more than it plus the
// burst (and the debt of the last request).
TEST(ThrottleTest, B9_OverTimeTheRateIsTheLimit) {
  for (unsigned seed = 1; seed <= 20; ++seed) {
    std::mt19937_64 random(seed);
    const uint64_t rate = 1000 + random() % 1000000;
    Throttle throttle({.bytes_per_second = rate}, kStart);
    Time now = kStart;
    uint64_t bytes = 0;
    while (now < kStart + 100s) {
      const uint64_t size = 512 * (1 + random() % 64);
      for (auto wait = throttle.Take(size, now); wait > kNow; wait = throttle.Take(size, now)) {
        now += wait;
      }
      bytes += size;
    }
    const double seconds = std::chrono::duration<double>(now - kStart).count();
    EXPECT_LE(bytes, rate * (seconds + 1) + 512 * 64) << "seed " << seed;
    EXPECT_GE(bytes, rate * seconds) << "seed " << seed;
  }
}

}  // namespace
}  // namespace stasis
