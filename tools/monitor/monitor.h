// Monitor: a thread that looks at a running guest's scheduler at a set rate, without its help.
#ifndef STASIS_TOOLS_MONITOR_MONITOR_H_
#define STASIS_TOOLS_MONITOR_MONITOR_H_

#include <sys/types.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "nlohmann/json.hpp"
#include "tools/harness/host_noise.h"
#include "tools/inspect/kernel.h"
#include "tools/monitor/depth_series.h"
#include "tools/monitor/detectors.h"
#include "tools/monitor/sample.h"
#include "tools/monitor/scheduler_sampler.h"
#include "vmm/dump/vmcoreinfo.h"
#include "vmm/memory/guest_memory.h"

namespace stasis {

struct MonitorSettings {
  double hz = 10;
  MonitorLimits limits;
  // From Start to the first look at the kernel: a guest that is gone by then costs nothing.
  absl::Duration delay;
  // Where the newest view is written for `stasis top`; "": nowhere.
  std::string live_file;
  nlohmann::json live_head = nlohmann::json::object();  // what is always in it
};

// Use: make, Start once the guest's kernel is up, Stop before the guest's memory goes. All methods
// from one thread, which none of them holds up: the monitor's thread shares nothing with it but what
// it hands over, and a few atomics. The vCPUs are not disturbed at all; what they change meanwhile
// is dropped and counted.
class Monitor {
 public:
  // `memory` outlives it. `on_event` is called on the monitor's thread.
  Monitor(const GuestMemory* memory, MonitorSettings settings,
          std::function<void(const MonitorEvent&)> on_event);
  ~Monitor();
  Monitor(const Monitor&) = delete;
  Monitor& operator=(const Monitor&) = delete;

  // `vcpu_threads`: by CPU, of this process.
  void Start(std::optional<dump::VmcoreInfoHint> hint, std::vector<pid_t> vcpu_threads);
  // Only between these is anything held against the guest. From Start on it is looked at.
  void Arm() { armed_.store(true, std::memory_order_relaxed); }
  void Disarm() { armed_.store(false, std::memory_order_relaxed); }
  // The guest stands still between these: what is seen then is dropped, and the time is not counted.
  void Pause();
  void Resume();
  // Waits for a look that is under way. Idempotent.
  void Stop();

  // `monitor` of docs/result-json.md.
  nlohmann::json ToJson(const std::function<uint64_t(absl::Time)>& guest_ns) const;
  // The last samples, for a dump.
  nlohmann::json Recent() const;
  // Why it sees nothing; "" while it does, or has not begun.
  std::string unavailable() const;

  static constexpr size_t kMostRecent = 100;  // samples that are kept
  static constexpr size_t kMostWaitsShown = 20;
  static constexpr absl::Duration kLivePeriod = absl::Seconds(1);
  // It takes no more than that of one CPU of the host, and looks less often where it would.
  static constexpr double kMostCpuShare = 0.05;

 private:
  // Counters of a vCPU's thread, from a file that is kept open.
  struct VcpuThread {
    int schedstat = -1;
    std::optional<ThreadSchedule> last;
  };
  struct Recorded {
    absl::Time time;
    std::vector<CpuSample> cpus;
    std::vector<Detectors::Wait> waits;
  };

  void Run(std::optional<dump::VmcoreInfoHint> hint);
  absl::Status Open(const std::optional<dump::VmcoreInfoHint>& hint);
  // Sleeps; true: it is to stop.
  bool SleepUntil(absl::Time when);
  bool stopping() const { return stop_.load(std::memory_order_relaxed); }
  void Look();
  void ReadHost(Sample* sample);
  void Publish(const Sample& sample);
  void PublishState(const char* state, const std::string& reason);
  nlohmann::json CostJson() const;  // with the mutex held

  const GuestMemory* const memory_;
  const MonitorSettings settings_;
  const std::function<void(const MonitorEvent&)> on_event_;
  std::thread thread_;
  std::atomic<bool> stop_{false};
  std::atomic<bool> armed_{false};
  // Odd while the guest is frozen; and how long it has been, in all.
  std::atomic<uint64_t> freezes_{0};
  std::atomic<int64_t> frozen_ns_{0};
  absl::Time frozen_since_;

  // Of the monitor's thread alone.
  std::unique_ptr<MemoryImage> image_;
  std::unique_ptr<Kernel> kernel_;
  std::unique_ptr<SchedulerSampler> sampler_;
  std::vector<VcpuThread> vcpus_;
  VcpuThread self_;
  Detectors detectors_;
  bool was_armed_ = false;
  absl::Time last_look_ = absl::InfinitePast();
  int64_t last_frozen_ns_ = 0;
  absl::Duration period_;
  absl::Time next_publishing_ = absl::InfinitePast();
  uint64_t publishings_ = 0;

  // Not absl::Mutex: ThreadSanitizer knows this one.
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  bool wanted_to_stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::string unavailable_ ABSL_GUARDED_BY(mutex_);
  uint64_t samples_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t dropped_frozen_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t torn_walks_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t torn_cpus_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t raced_tasks_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t most_tasks_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Duration opening_cpu_ ABSL_GUARDED_BY(mutex_);
  absl::Duration sampling_cpu_ ABSL_GUARDED_BY(mutex_);
  absl::Duration longest_sample_cpu_ ABSL_GUARDED_BY(mutex_);
  absl::Duration publishing_cpu_ ABSL_GUARDED_BY(mutex_);
  absl::Time first_sample_ ABSL_GUARDED_BY(mutex_);
  absl::Time last_sample_ ABSL_GUARDED_BY(mutex_);
  DepthSeries series_ ABSL_GUARDED_BY(mutex_);
  std::deque<Recorded> recent_ ABSL_GUARDED_BY(mutex_);
  std::vector<MonitorFinding> findings_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace stasis

#endif  // STASIS_TOOLS_MONITOR_MONITOR_H_
