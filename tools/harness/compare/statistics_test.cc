#include "tools/harness/compare/statistics.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace stasis {
namespace {

using ::testing::ElementsAre;

std::vector<double> Normal(std::mt19937* random, size_t count, double mean, double deviation) {
  std::normal_distribution<double> normal(mean, deviation);
  std::vector<double> values;
  for (size_t i = 0; i < count; ++i) values.push_back(normal(*random));
  return values;
}

// With two degrees of freedom the distribution has a closed form: P(|T| > t) = 1 - t / sqrt(2 + t^2),
// and t(0.975) = 4.3027.
TEST(WelchDifferenceTest, AgreesWithTheClosedFormOfTwoDegrees) {
  const Difference difference = WelchDifference({0, 2}, {4, 6}, 0.95);

  EXPECT_DOUBLE_EQ(difference.value, 4);
  EXPECT_NEAR(difference.degrees, 2, 1e-12);
  const double t = 4 / std::sqrt(2);
  EXPECT_NEAR(difference.p, 1 - t / std::sqrt(2 + t * t), 1e-12);
  EXPECT_NEAR(difference.interval.high - 4, 4.30265 * std::sqrt(2), 1e-4);
  EXPECT_NEAR(4 - difference.interval.low, 4.30265 * std::sqrt(2), 1e-4);
}

// By hand: means 2 and 6, variances of the means 1/3 and 4/3, so t = 4 / sqrt(5/3), and
// df = (5/3)^2 / ((1/3)^2 / 2 + (4/3)^2 / 2) = 2.941.
TEST(WelchDifferenceTest, AgreesWithWhatIsWorkedOutByHand) {
  const Difference difference = WelchDifference({1, 2, 3}, {4, 6, 8}, 0.95);

  EXPECT_DOUBLE_EQ(difference.value, 4);
  EXPECT_NEAR(difference.degrees, 2.9412, 1e-4);
  // t(0.975, 2.9412) = 3.219: between 4.303 (df 2) and 3.182 (df 3).
  EXPECT_NEAR(difference.interval.low, 4 - 3.219 * std::sqrt(5.0 / 3), 0.01);
  EXPECT_GT(difference.p, 0.05);
  EXPECT_LT(difference.p, 0.06);
}

// Student's table: with equal sizes and variances Welch's degrees are 2n - 2; t(0.975, 8) = 2.306.
TEST(WelchDifferenceTest, EqualVariancesGiveStudentsInterval) {
  const Difference difference =
      WelchDifference({1, 2, 3, 4, 5}, {11, 12, 13, 14, 15}, 0.95);

  EXPECT_NEAR(difference.degrees, 8, 1e-9);
  EXPECT_NEAR(difference.interval.high - difference.value, 2.306 * 1.0, 1e-3);
}

TEST(WelchDifferenceTest, EqualSamplesDoNotDiffer) {
  EXPECT_DOUBLE_EQ(WelchDifference({1, 2, 3}, {1, 2, 3}, 0.95).p, 1);
}

TEST(WelchDifferenceTest, SamplesWithoutVarianceDifferForCertainOrNotAtAll) {
  EXPECT_EQ(WelchDifference({0.1, 0.1, 0.1}, {0.1, 0.1, 0.1}, 0.95).p, 1);
  EXPECT_EQ(WelchDifference({0, 0}, {0, 0}, 0.95).p, 1);
  const Difference difference = WelchDifference({1, 1}, {2, 2}, 0.95);
  EXPECT_EQ(difference.p, 0);
  EXPECT_EQ(difference.interval.low, 1);
  EXPECT_EQ(difference.interval.high, 1);
}

// The interval's promise: the true difference lies in it in 95 of 100 experiments, with five values
// each and deviations that differ by four.
TEST(WelchDifferenceTest, IntervalHoldsTheTruthAsOftenAsItSays) {
  std::mt19937 random(1);
  int held = 0;
  constexpr int kExperiments = 4000;
  for (int i = 0; i < kExperiments; ++i) {
    const Difference difference =
        WelchDifference(Normal(&random, 5, 10, 1), Normal(&random, 5, 13, 4), 0.95);
    held += difference.interval.low <= 3 && 3 <= difference.interval.high;
  }

  EXPECT_GT(held, 0.93 * kExperiments);
  EXPECT_LT(held, 0.975 * kExperiments);
}

// From the paper's own example (fifteen p-values, rate 0.05): the first four are rejected.
TEST(BenjaminiHochbergTest, RejectsAsInThePaper) {
  const std::vector<bool> rejected = BenjaminiHochberg(
      {0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262,
       0.5719, 0.6528, 0.7590, 1.000},
      0.05);

  for (size_t i = 0; i < rejected.size(); ++i) EXPECT_EQ(rejected[i], i < 4) << i;
}

TEST(BenjaminiHochbergTest, OrderOfTheValuesDoesNotMatter) {
  EXPECT_THAT(BenjaminiHochberg({0.9, 0.001, 0.04}, 0.05), ElementsAre(false, true, false));
  EXPECT_THAT(BenjaminiHochberg({0.04, 0.03}, 0.05), ElementsAre(true, true));
  EXPECT_TRUE(BenjaminiHochberg({}, 0.05).empty());
}

// Forty metrics of which none has changed: a false alarm in one comparison of twenty at most.
TEST(BenjaminiHochbergTest, ManyMetricsWithoutAChangeRaiseFewAlarms) {
  std::mt19937 random(2);
  int alarms = 0;
  constexpr int kComparisons = 1000;
  for (int i = 0; i < kComparisons; ++i) {
    std::vector<double> p;
    for (int metric = 0; metric < 40; ++metric) {
      p.push_back(
          WelchDifference(Normal(&random, 5, 10, 1), Normal(&random, 5, 10, 1), 0.95).p);
    }
    const std::vector<bool> rejected = BenjaminiHochberg(p, 0.05);
    alarms += std::count(rejected.begin(), rejected.end(), true) > 0;
  }

  EXPECT_LT(alarms, 0.065 * kComparisons);
}

}  // namespace
}  // namespace stasis
