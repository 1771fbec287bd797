// DepthSeries: how many tasks wanted each CPU over a run, at a resolution that is bounded.
#ifndef STASIS_TOOLS_MONITOR_DEPTH_SERIES_H_
#define STASIS_TOOLS_MONITOR_DEPTH_SERIES_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "absl/time/time.h"
#include "nlohmann/json.hpp"
#include "tools/monitor/sample.h"

namespace stasis {

// When there are more than kMostIntervals intervals, two become one. One thread.
class DepthSeries {
 public:
  static constexpr size_t kMostIntervals = 512;
  static constexpr size_t kMostCpus = 128;

  void Add(const Sample& sample);

  // `series` of docs/result-json.md; null without a sample. `guest_ns`: the guest's CLOCK_MONOTONIC
  // at a moment of the host's.
  nlohmann::json ToJson(const std::function<uint64_t(absl::Time)>& guest_ns) const;

 private:
  struct Interval {
    uint64_t most = 0;  // tasks, waiting or running
    uint64_t sum = 0;
    uint64_t busy = 0;  // samples in which it did not idle
    uint64_t samples = 0;
  };

  void Halve();

  absl::Time begin_;
  std::vector<absl::Time> ends_;
  std::vector<std::vector<Interval>> cpus_;  // by CPU, then interval
  size_t merged_ = 1;                        // samples in an interval
  size_t in_last_ = 0;
};

}  // namespace stasis

#endif  // STASIS_TOOLS_MONITOR_DEPTH_SERIES_H_
