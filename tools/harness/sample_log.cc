#include "tools/harness/sample_log.h"

#include <algorithm>

namespace stasis {

void SampleLog::Add(const wire::WorkerSamples& samples) {
  const uint64_t last = ends_ns_.empty() ? begin_ns_ : ends_ns_.back();
  if (samples.time_ns <= last) return;  // a guest whose clock goes backwards
  const bool first = begin_ns_ == 0;
  if (first) {
    begin_ns_ = samples.time_ns;
  } else if (in_last_ == 0 || in_last_ >= merged_) {
    if (ends_ns_.size() == kMostIntervals) Halve();
    ends_ns_.push_back(samples.time_ns);
    in_last_ = 1;
  } else {
    ends_ns_.back() = samples.time_ns;
    ++in_last_;
  }
  for (const wire::WorkerSample& sample : samples.samples) {
    if (workers_.size() >= kMostWorkers && workers_.count(sample.index) == 0) continue;
    Worker& worker = workers_[sample.index];
    const uint64_t ran = sample.run_ns > worker.run_ns && worker.seen ? sample.run_ns - worker.run_ns
                                                                     : 0;
    worker.run_ns = sample.run_ns;
    worker.seen = true;
    if (first) continue;
    worker.intervals.resize(ends_ns_.size());
    Interval& interval = worker.intervals.back();
    interval.run_ns += ran;
    interval.gap_ns = std::max(interval.gap_ns, sample.current_gap_ns);
    interval.cpu = sample.cpu;
    interval.present = true;
  }
}

void SampleLog::Halve() {
  std::vector<uint64_t> ends;
  for (size_t i = 1; i < ends_ns_.size(); i += 2) ends.push_back(ends_ns_[i]);
  for (auto& [index, worker] : workers_) {
    worker.intervals.resize(ends_ns_.size());
    std::vector<Interval> merged(ends.size());
    for (size_t i = 0; i < merged.size(); ++i) {
      const Interval &a = worker.intervals[2 * i], &b = worker.intervals[2 * i + 1];
      merged[i] = {.run_ns = a.run_ns + b.run_ns,
                   .gap_ns = std::max(a.gap_ns, b.gap_ns),
                   .cpu = b.present ? b.cpu : a.cpu,
                   .present = a.present || b.present};
    }
    worker.intervals = std::move(merged);
  }
  ends_ns_ = std::move(ends);
  merged_ *= 2;
}

nlohmann::json SampleLog::ToJson() const {
  using nlohmann::json;
  if (ends_ns_.empty()) return nullptr;
  json workers = json::array();
  for (const auto& [index, worker] : workers_) {
    json run = json::array(), gaps = json::array(), cpus = json::array();
    for (size_t i = 0; i < ends_ns_.size(); ++i) {
      const Interval interval = i < worker.intervals.size() ? worker.intervals[i] : Interval();
      run.push_back(interval.run_ns);
      gaps.push_back(interval.gap_ns);
      cpus.push_back(interval.present ? static_cast<int64_t>(interval.cpu) : -1);
    }
    workers.push_back({{"index", index}, {"run_ns", run}, {"gap_ns", gaps}, {"cpu", cpus}});
  }
  return {{"begin_ns", begin_ns_}, {"ends_ns", ends_ns_}, {"workers", std::move(workers)}};
}

}  // namespace stasis
