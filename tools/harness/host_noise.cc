#include "tools/harness/host_noise.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace stasis {
namespace {

std::optional<std::string> ReadProcFile(const std::string& path) {
  std::ifstream file(path);
  if (!file) return std::nullopt;
  return std::string(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
}

}  // namespace

std::optional<ThreadSchedule> ParseSchedstat(absl::string_view text) {
  const std::vector<absl::string_view> words =
      absl::StrSplit(text, absl::ByAnyChar(" \n"), absl::SkipEmpty());
  uint64_t ran, delay;
  if (words.size() < 3 || !absl::SimpleAtoi(words[0], &ran) || !absl::SimpleAtoi(words[1], &delay))
    return std::nullopt;
  return ThreadSchedule{absl::Nanoseconds(ran), absl::Nanoseconds(delay), 0};
}

std::optional<uint64_t> ParseInvoluntarySwitches(absl::string_view status) {
  constexpr absl::string_view kKey = "nonvoluntary_ctxt_switches:";
  for (absl::string_view line : absl::StrSplit(status, '\n')) {
    if (line.substr(0, kKey.size()) != kKey) continue;
    uint64_t count;
    if (absl::SimpleAtoi(line.substr(kKey.size()), &count)) return count;
  }
  return std::nullopt;
}

std::optional<ThreadSchedule> ReadThreadSchedule(pid_t thread_id) {
  const std::string directory = absl::StrCat("/proc/self/task/", thread_id);
  std::optional<std::string> schedstat = ReadProcFile(absl::StrCat(directory, "/schedstat"));
  if (!schedstat.has_value()) return std::nullopt;
  std::optional<ThreadSchedule> schedule = ParseSchedstat(*schedstat);
  std::optional<std::string> status = ReadProcFile(absl::StrCat(directory, "/status"));
  if (schedule.has_value() && status.has_value()) {
    schedule->involuntary_switches = ParseInvoluntarySwitches(*status).value_or(0);
  }
  return schedule;
}

void HostNoise::AddSample(absl::Time time, std::vector<ThreadSchedule> vcpus,
                          std::optional<ThreadSchedule> sampler) {
  absl::Duration stopped;
  if (!samples_.empty() && sampler.has_value() && samples_.back().sampler.has_value()) {
    const Sample& before = samples_.back();
    const absl::Duration late = time - before.time - kPeriod;
    const absl::Duration busy =
        sampler->ran + sampler->run_delay - (before.sampler->ran + before.sampler->run_delay);
    // Less than that is what timers and reading the samples cost.
    if (late - busy > kPeriod / 2) stopped = late - busy;
  }
  samples_.push_back({time, std::move(vcpus), sampler, stopped});
}

absl::Duration HostNoise::DelayOf(size_t vcpu, absl::Time from, absl::Time to) const {
  // The last sample at or before `from`, the first at or behind `to`; else the outermost ones.
  auto first = std::upper_bound(samples_.begin(), samples_.end(), from,
                                [](absl::Time time, const Sample& s) { return time < s.time; });
  if (first != samples_.begin()) --first;
  auto last = std::lower_bound(samples_.begin(), samples_.end(), to,
                               [](const Sample& s, absl::Time time) { return s.time < time; });
  if (last == samples_.end() && last != samples_.begin()) --last;
  if (first >= last || vcpu >= first->vcpus.size() || vcpu >= last->vcpus.size()) {
    return absl::ZeroDuration();
  }
  // Who waited while the host stood still has that in his run delay already.
  absl::Duration delay;
  for (auto at = std::next(first); at <= last; ++at) {
    const auto before = std::prev(at);
    if (vcpu >= before->vcpus.size() || vcpu >= at->vcpus.size()) continue;
    delay += std::max(at->vcpus[vcpu].run_delay - before->vcpus[vcpu].run_delay, at->stopped);
  }
  return delay;
}

absl::Duration HostNoise::MaxDelay(absl::Time from, absl::Time to) const {
  absl::Duration most;
  for (size_t vcpu = 0; vcpu < vcpus(); ++vcpu) most = std::max(most, DelayOf(vcpu, from, to));
  return most;
}

std::vector<HostNoise::Total> HostNoise::Totals() const {
  std::vector<Total> totals;
  if (samples_.empty()) return totals;
  const std::vector<ThreadSchedule>& first = samples_.front().vcpus;
  const std::vector<ThreadSchedule>& last = samples_.back().vcpus;
  for (size_t i = 0; i < std::min(first.size(), last.size()); ++i) {
    totals.push_back({last[i].ran - first[i].ran, last[i].run_delay - first[i].run_delay,
                      last[i].involuntary_switches - first[i].involuntary_switches});
  }
  return totals;
}

}  // namespace stasis
