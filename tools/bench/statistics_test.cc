#include "tools/bench/statistics.h"

#include "gtest/gtest.h"

namespace stasis::bench {
namespace {

TEST(SummarizeTest, OddCountTakesTheMiddleValueWhateverTheOrder) {
  const Summary summary = Summarize({9, 1, 4});

  EXPECT_EQ(summary.median, 4);
  EXPECT_EQ(summary.min, 1);
  EXPECT_EQ(summary.max, 9);
  EXPECT_EQ(summary.count, 3u);
}

TEST(SummarizeTest, EvenCountTakesTheMeanOfTheMiddleTwo) {
  EXPECT_EQ(Summarize({10, 2, 4, 1}).median, 3);
}

TEST(SummarizeTest, OneOutlierDoesNotMoveTheMedian) {
  EXPECT_EQ(Summarize({5, 5, 5, 5, 1000}).median, 5);
}

TEST(SummarizeTest, NoValuesGiveCountZero) { EXPECT_EQ(Summarize({}).count, 0u); }

TEST(MedianRatioTest, DividesMedians) {
  EXPECT_EQ(MedianRatio(Summarize({1, 2, 3}), Summarize({4})), 0.5);
}

TEST(MedianRatioTest, WithoutValuesOrWithAZeroDivisorThereIsNone) {
  EXPECT_EQ(MedianRatio(Summarize({}), Summarize({4})), std::nullopt);
  EXPECT_EQ(MedianRatio(Summarize({4}), Summarize({})), std::nullopt);
  EXPECT_EQ(MedianRatio(Summarize({4}), Summarize({0})), std::nullopt);
}

}  // namespace
}  // namespace stasis::bench
