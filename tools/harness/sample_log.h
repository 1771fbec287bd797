// SampleLog: who ran where and who waited, over a run, at a resolution that is bounded.
#ifndef STASIS_TOOLS_HARNESS_SAMPLE_LOG_H_
#define STASIS_TOOLS_HARNESS_SAMPLE_LOG_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

#include "guest/wire/messages.h"
#include "nlohmann/json.hpp"

namespace stasis {

// From the agent's samples. What the guest says is bounded: no more than kMostWorkers workers, and
// when there are more than kMostIntervals intervals, two become one. One thread.
class SampleLog {
 public:
  static constexpr size_t kMostIntervals = 512;
  static constexpr size_t kMostWorkers = 256;

  void Add(const wire::WorkerSamples& samples);

  // `samples` of docs/result-json.md; null with fewer than two samples.
  nlohmann::json ToJson() const;

 private:
  struct Interval {
    uint64_t run_ns = 0;   // CPU time in it
    uint64_t gap_ns = 0;   // longest wait that was seen not over in it
    uint32_t cpu = 0;      // where it was seen last
    bool present = false;  // the worker was there
  };
  struct Worker {
    uint64_t run_ns = 0;  // as last said
    bool seen = false;
    std::vector<Interval> intervals;
  };

  void Halve();

  std::vector<uint64_t> ends_ns_;  // of the intervals
  uint64_t begin_ns_ = 0;          // of the first
  size_t merged_ = 1;              // samples in an interval
  size_t in_last_ = 0;             // samples in the last one so far
  std::map<uint32_t, Worker> workers_;
};

}  // namespace stasis

#endif  // STASIS_TOOLS_HARNESS_SAMPLE_LOG_H_
