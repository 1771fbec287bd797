// Host noise: when vCPU threads wanted to run and the host's scheduler did not let them.
//
// The measure is the run delay of /proc/self/task/TID/schedstat (time spent runnable and waiting
// for a CPU), sampled at a fixed period. A gap that the guest reports is explained by the host as
// far as the delay of some vCPU thread in the gap's window goes: what is left over is the
// scheduler's. The window is widened to whole samples, so that the host's share is overstated by at
// most two periods and a scheduler is never blamed for what the host did.
#ifndef STASIS_TOOLS_HARNESS_HOST_NOISE_H_
#define STASIS_TOOLS_HARNESS_HOST_NOISE_H_

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace stasis {

// Counters of one thread since it started.
struct ThreadSchedule {
  absl::Duration ran;
  absl::Duration run_delay;
  uint64_t involuntary_switches = 0;
};

// Parses "ran_ns delay_ns timeslices" of schedstat. Nothing when it is something else.
std::optional<ThreadSchedule> ParseSchedstat(absl::string_view text);
// The value of "nonvoluntary_ctxt_switches:" in /proc/.../status.
std::optional<uint64_t> ParseInvoluntarySwitches(absl::string_view status);
// Reads both files of a thread of this process. Nothing when the thread is gone or the host kernel
// has no CONFIG_SCHED_INFO.
std::optional<ThreadSchedule> ReadThreadSchedule(pid_t thread_id);

// Samples of all vCPU threads. One thread.
class HostNoise {
 public:
  // How often samples are taken.
  static constexpr absl::Duration kPeriod = absl::Milliseconds(100);

  // Adds a sample of every vCPU, in order of vCPUs. Times (CLOCK_MONOTONIC) ascend. `sampler` is
  // the thread that takes the samples: if one comes late, and that thread neither ran nor waited
  // for a CPU meanwhile, then the host itself stood still (an emulated or suspended one), which is
  // nobody's run delay.
  void AddSample(absl::Time time, std::vector<ThreadSchedule> vcpus,
                 std::optional<ThreadSchedule> sampler = std::nullopt);

  bool empty() const { return samples_.empty(); }
  size_t vcpus() const { return samples_.empty() ? 0 : samples_.front().vcpus.size(); }

  // Run delay of one vCPU in the samples that cover [from, to], and the time for which the host
  // stood still, where that is more.
  absl::Duration DelayOf(size_t vcpu, absl::Time from, absl::Time to) const;
  // The largest DelayOf over all vCPUs.
  absl::Duration MaxDelay(absl::Time from, absl::Time to) const;

  // Over the whole time, for reports.
  struct Total {
    absl::Duration ran;
    absl::Duration run_delay;
    uint64_t involuntary_switches = 0;
  };
  std::vector<Total> Totals() const;

 private:
  struct Sample {
    absl::Time time;
    std::vector<ThreadSchedule> vcpus;
    std::optional<ThreadSchedule> sampler;
    absl::Duration stopped;  // the host, since the sample before
  };
  std::vector<Sample> samples_;
};

}  // namespace stasis

#endif  // STASIS_TOOLS_HARNESS_HOST_NOISE_H_
