// Statistics over a handful of runs: medians with their range, and ratios of medians.
#ifndef STASIS_TOOLS_BENCH_STATISTICS_H_
#define STASIS_TOOLS_BENCH_STATISTICS_H_

#include <cstddef>
#include <optional>
#include <vector>

#include "nlohmann/json.hpp"

namespace stasis::bench {

struct Summary {
  double median = 0;  // of an even count: the mean of the middle two
  double min = 0;
  double max = 0;
  size_t count = 0;
};

// All zero for no values.
Summary Summarize(std::vector<double> values);

// a.median / b.median; nullopt if either has no values or b's median is 0.
std::optional<double> MedianRatio(const Summary& a, const Summary& b);

nlohmann::json ToJson(const Summary& summary);

}  // namespace stasis::bench

#endif  // STASIS_TOOLS_BENCH_STATISTICS_H_
