#include "tools/nested/tsc_rate.h"

#include <gtest/gtest.h>

#include <cmath>

namespace stasis::nested {
namespace {

// KVM in the emulated host takes rates for the same that differ by less than 250 parts in a
// million.
TEST(TscRateTest, TwoMeasurementsAgreeToPartsInAMillion) {
  const TscRate rate;
  const uint32_t first = rate.Khz();
  if (first == 0) GTEST_SKIP() << "no time-stamp counter on this architecture";

  const uint32_t second = TscRate().Khz();

  EXPECT_GT(first, 100'000u);
  EXPECT_LT(std::abs(static_cast<double>(first) - second) / first, 100e-6)
      << first << " and " << second << " kHz";
}

}  // namespace
}  // namespace stasis::nested
