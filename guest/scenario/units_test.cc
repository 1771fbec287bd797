#include "guest/scenario/units.h"

#include "gtest/gtest.h"

namespace stasis {
namespace {

TEST(ParseDurationTest, TimesWithUnitsAreTaken) {
  EXPECT_EQ(*ParseDuration("10s"), absl::Seconds(10));
  EXPECT_EQ(*ParseDuration("5ms"), absl::Milliseconds(5));
  EXPECT_EQ(*ParseDuration("1.5s"), absl::Milliseconds(1500));
  EXPECT_EQ(*ParseDuration("1h30m"), absl::Minutes(90));
}

TEST(ParseDurationTest, BareNumberIsToldToHaveAUnit) {
  EXPECT_EQ(ParseDuration("10").status().message(),
            "'10' has no unit; expected a time such as '10s' or '10ms'");
  EXPECT_FALSE(ParseDuration("0").ok());
}

TEST(ParseDurationTest, NonsenseIsRefused) {
  for (const char* text : {"", "s", "10 s", "-1s", "inf", "-inf", "10sec", "1e400s", "10S"}) {
    EXPECT_FALSE(ParseDuration(text).ok()) << text;
  }
}

TEST(ParseMemoryBytesTest, SizesArePowersOf1024) {
  EXPECT_EQ(*ParseMemoryBytes("512M"), 512u << 20);
  EXPECT_EQ(*ParseMemoryBytes("2G"), uint64_t{2} << 30);
  EXPECT_EQ(*ParseMemoryBytes("64KiB"), 64u << 10);
}

TEST(ParseMemoryBytesTest, BareNumberIsToldToHaveAUnit) {
  EXPECT_EQ(ParseMemoryBytes("12").status().message(),
            "'12' has no unit; expected a size such as '12M' or '12G'");
}

TEST(ParseMemoryBytesTest, NonsenseIsRefused) {
  for (const char* text : {"", "M", "-1M", "0M", "1.5G", "12Q", "12MB", "9999999999T",
                           "99999999999999999999999M", "1 M"}) {
    EXPECT_FALSE(ParseMemoryBytes(text).ok()) << text;
  }
}

}  // namespace
}  // namespace stasis
