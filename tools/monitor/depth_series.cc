#include "tools/monitor/depth_series.h"

#include <algorithm>

namespace stasis {

void DepthSeries::Add(const Sample& sample) {
  if (sample.tasks_torn) return;
  if (!ends_.empty() && sample.time <= ends_.back()) return;
  if (ends_.empty()) begin_ = sample.time - sample.interval;
  if (in_last_ == 0 || in_last_ >= merged_) {
    if (ends_.size() == kMostIntervals) Halve();
    ends_.push_back(sample.time);
    in_last_ = 1;
  } else {
    ends_.back() = sample.time;
    ++in_last_;
  }
  cpus_.resize(std::max(cpus_.size(), std::min(sample.cpus.size(), kMostCpus)));
  for (std::vector<Interval>& intervals : cpus_) intervals.resize(ends_.size());
  for (const CpuSample& cpu : sample.cpus) {
    if (cpu.torn || static_cast<size_t>(cpu.cpu) >= cpus_.size()) continue;
    Interval& interval = cpus_[cpu.cpu].back();
    const uint64_t depth = cpu.waiting + (cpu.idle ? 0 : 1);
    interval.most = std::max(interval.most, depth);
    interval.sum += depth;
    interval.busy += cpu.idle ? 0 : 1;
    ++interval.samples;
  }
}

void DepthSeries::Halve() {
  std::vector<absl::Time> ends;
  for (size_t i = 1; i < ends_.size(); i += 2) ends.push_back(ends_[i]);
  for (std::vector<Interval>& intervals : cpus_) {
    std::vector<Interval> merged(ends.size());
    for (size_t i = 0; i < merged.size(); ++i) {
      const Interval &a = intervals[2 * i], &b = intervals[2 * i + 1];
      merged[i] = {.most = std::max(a.most, b.most),
                   .sum = a.sum + b.sum,
                   .busy = a.busy + b.busy,
                   .samples = a.samples + b.samples};
    }
    intervals = std::move(merged);
  }
  ends_ = std::move(ends);
  merged_ *= 2;
}

nlohmann::json DepthSeries::ToJson(const std::function<uint64_t(absl::Time)>& guest_ns) const {
  using nlohmann::json;
  if (ends_.empty()) return nullptr;
  json ends = json::array();
  for (const absl::Time end : ends_) ends.push_back(guest_ns(end));
  json cpus = json::array();
  for (size_t cpu = 0; cpu < cpus_.size(); ++cpu) {
    json most = json::array(), mean = json::array(), busy = json::array();
    for (const Interval& interval : cpus_[cpu]) {
      const double samples = std::max<double>(1, static_cast<double>(interval.samples));
      most.push_back(interval.most);
      // Two digits are enough for a picture.
      mean.push_back(static_cast<double>(interval.sum * 100 / static_cast<uint64_t>(samples)) / 100);
      busy.push_back(static_cast<double>(interval.busy * 100 / static_cast<uint64_t>(samples)) / 100);
    }
    cpus.push_back({{"cpu", cpu}, {"most", most}, {"mean", mean}, {"busy", busy}});
  }
  return {{"begin_ns", guest_ns(begin_)}, {"ends_ns", std::move(ends)}, {"cpus", std::move(cpus)}};
}

}  // namespace stasis
