#include "tools/bench/statistics.h"

#include <algorithm>

namespace stasis::bench {

Summary Summarize(std::vector<double> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  const double median =
      values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
  return {median, values.front(), values.back(), values.size()};
}

std::optional<double> MedianRatio(const Summary& a, const Summary& b) {
  if (a.count == 0 || b.count == 0 || b.median == 0) return std::nullopt;
  return a.median / b.median;
}

nlohmann::json ToJson(const Summary& summary) {
  return {{"median", summary.median},
          {"min", summary.min},
          {"max", summary.max},
          {"count", summary.count}};
}

}  // namespace stasis::bench
