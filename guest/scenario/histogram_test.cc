#include "guest/scenario/histogram.h"

#include "gtest/gtest.h"

namespace stasis {
namespace {

TEST(HistogramTest, BucketsFollowEachOtherWithoutHoles) {
  for (uint32_t bucket = 0; bucket + 1 < Histogram::kBuckets; ++bucket) {
    EXPECT_EQ(Histogram::BucketOf(Histogram::Low(bucket)), bucket);
    EXPECT_EQ(Histogram::BucketOf(Histogram::High(bucket)), bucket);
    EXPECT_EQ(Histogram::High(bucket) + 1, Histogram::Low(bucket + 1));
  }
}

TEST(HistogramTest, BucketIsNoWiderThanASixteenthOfItsTimes) {
  for (uint32_t bucket = 16; bucket + 1 < Histogram::kBuckets; ++bucket) {
    const uint64_t width = Histogram::High(bucket) - Histogram::Low(bucket) + 1;
    EXPECT_LE(width * 16, Histogram::Low(bucket)) << bucket;
  }
}

TEST(HistogramTest, TimesBeyondTheEndAreInTheLastBucket) {
  EXPECT_EQ(Histogram::BucketOf((uint64_t{1} << 37) - 1), Histogram::kBuckets - 1);
  EXPECT_EQ(Histogram::BucketOf(uint64_t{1} << 37), Histogram::kBuckets - 1);
  EXPECT_EQ(Histogram::BucketOf(UINT64_MAX), Histogram::kBuckets - 1);
  EXPECT_EQ(Histogram::High(Histogram::kBuckets - 1), UINT64_MAX);
}

TEST(HistogramTest, QuantileIsTheFirstBucketThatCoversTheShare) {
  Histogram histogram;
  histogram.Add(Histogram::BucketOf(1000), 99);
  histogram.Add(Histogram::BucketOf(1000000), 1);

  EXPECT_EQ(histogram.count(), 100u);
  EXPECT_EQ(histogram.Quantile(0.5), Histogram::High(Histogram::BucketOf(1000)));
  EXPECT_EQ(histogram.Quantile(0.99), Histogram::High(Histogram::BucketOf(1000)));
  EXPECT_EQ(histogram.Quantile(0.991), Histogram::High(Histogram::BucketOf(1000000)));
  EXPECT_EQ(histogram.Quantile(1), Histogram::High(Histogram::BucketOf(1000000)));
  EXPECT_EQ(Histogram().Quantile(0.5), 0u);
}

TEST(HistogramTest, MergeAddsUp) {
  Histogram a, b;
  a.Add(3, 1);
  b.Add(3, 2);
  b.Add(500, 7);
  a.Merge(b);

  EXPECT_EQ(a.ToString(), "3:3 500:7");
}

TEST(HistogramTest, TextAndBack) {
  Histogram histogram;
  histogram.Add(0, 1);
  histogram.Add(Histogram::kBuckets - 1, UINT64_MAX);

  auto back = Histogram::Parse(histogram.ToString());

  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(*back, histogram);
  EXPECT_TRUE(Histogram::Parse("")->empty());
}

TEST(HistogramTest, HostileTextIsRefused) {
  for (const char* text : {"1", "1:", ":1", "-1:1", "544:1", "1:0", "1:-1", "1:1:1", "a:b",
                           "1:18446744073709551616"}) {
    EXPECT_EQ(Histogram::Parse(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

TEST(HistogramTest, AbsurdCountsSaturate) {
  auto histogram = Histogram::Parse("1:18446744073709551615 2:18446744073709551615 1:5");

  ASSERT_TRUE(histogram.ok());
  EXPECT_EQ(histogram->count(), UINT64_MAX);
}

}  // namespace
}  // namespace stasis
