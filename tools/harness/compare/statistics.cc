#include "tools/harness/compare/statistics.h"

#include <algorithm>
#include <boost/math/distributions/students_t.hpp>
#include <cmath>
#include <limits>
#include <numeric>

namespace stasis {
namespace {

// Of the mean: variance of the sample / its size.
double VarianceOfMean(const std::vector<double>& values) {
  const double mean = Mean(values);
  double sum = 0;
  for (double value : values) sum += (value - mean) * (value - mean);
  const double n = static_cast<double>(values.size());
  return sum / (n - 1) / n;
}

}  // namespace

double Mean(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

Difference WelchDifference(const std::vector<double>& a, const std::vector<double>& b,
                           double confidence) {
  Difference difference;
  difference.value = Mean(b) - Mean(a);
  const double of_a = VarianceOfMean(a);
  const double of_b = VarianceOfMean(b);
  const double error = std::sqrt(of_a + of_b);
  // Below what adding up equal numbers leaves of them.
  const double scale = std::max(std::abs(Mean(a)), std::abs(Mean(b)));
  if (error <= scale * 8 * std::numeric_limits<double>::epsilon()) {
    difference.interval = {difference.value, difference.value};
    difference.p = std::abs(difference.value) <= 16 * error ? 1 : 0;
    return difference;
  }
  difference.degrees = (of_a + of_b) * (of_a + of_b) /
                       (of_a * of_a / static_cast<double>(a.size() - 1) +
                        of_b * of_b / static_cast<double>(b.size() - 1));
  const boost::math::students_t_distribution<double> t(difference.degrees);
  const double half =
      boost::math::quantile(boost::math::complement(t, (1 - confidence) / 2)) * error;
  difference.interval = {difference.value - half, difference.value + half};
  difference.p =
      2 * boost::math::cdf(boost::math::complement(t, std::abs(difference.value) / error));
  return difference;
}

std::vector<bool> BenjaminiHochberg(const std::vector<double>& p, double rate) {
  std::vector<size_t> order(p.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](size_t i, size_t j) { return p[i] < p[j]; });
  size_t remaining = 0;
  for (size_t k = 0; k < order.size(); ++k) {
    const double bound = rate * static_cast<double>(k + 1) / static_cast<double>(p.size());
    if (p[order[k]] <= bound) remaining = k + 1;
  }
  std::vector<bool> rejected(p.size(), false);
  for (size_t k = 0; k < remaining; ++k) rejected[order[k]] = true;
  return rejected;
}

}  // namespace stasis
