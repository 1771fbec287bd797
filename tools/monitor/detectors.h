// Detectors: from a stream of samples to what is wrong with the scheduler. Pure.
#ifndef STASIS_TOOLS_MONITOR_DETECTORS_H_
#define STASIS_TOOLS_MONITOR_DETECTORS_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "tools/monitor/lock_watch.h"
#include "tools/monitor/sample.h"

namespace stasis {

struct MonitorLimits {
  // A task that waits, and a CPU that stands still, for longer are a failure.
  absl::Duration stall = absl::Seconds(3);
  // Milder things are told once they have lasted this long.
  absl::Duration idle_beside_waiters = absl::Seconds(1);
  absl::Duration imbalance = absl::Seconds(3);
  absl::Duration bypass = absl::Seconds(2);
  absl::Duration lock_held = absl::Seconds(2);

  // For a slower host. A lock is only looked at where the virtual CPU ran: no factor for that.
  MonitorLimits operator*(double factor) const {
    return {stall * factor, idle_beside_waiters * factor, imbalance * factor, bypass * factor,
            lock_held};
  }
};
// Of a sched_ext scheduler's own watchdog: before that tears down what there is to be seen.
inline constexpr double kShareOfWatchdog = 0.8;

enum class FindingKind {
  kTaskStall,   // a task is runnable and does not run
  kCpuStall,    // a CPU's runqueue clock stands still although its thread runs
  kIdleCpu,     // a CPU idles while another one has waiters that it may run
  kImbalance,   // runnable tasks are spread unevenly
  kSchedExt,    // bypass, or an end by an error
  kLockHeld,    // a runqueue's lock is hardly ever free
};
const char* FindingKindName(FindingKind kind);

enum class Severity {
  kNote,     // so it was asked for: tasks are confined to the busy CPU
  kWarning,
  kFailure,
};
const char* SeverityName(Severity severity);

struct MonitorFinding {
  FindingKind kind = FindingKind::kTaskStall;
  Severity severity = Severity::kFailure;
  std::string text;  // one line
  int cpu = -1;
  // The task it speaks of; 0: of none.
  int pid = 0;
  std::string comm;
  std::string cgroup;
  absl::Time began;       // CLOCK_MONOTONIC: the task last ran then, the CPU last went on then, ...
  absl::Duration lasted;  // so far, without the time in which the guest was frozen
  absl::Duration excused;  // of it, the host's doing
  absl::Duration limit;
};

struct MonitorEvent {
  enum class What {
    kSuspected,  // half of the limit of a failure has passed
    kCleared,    // nobody is suspected any more
    kFound,
  };
  What what = What::kFound;
  MonitorFinding finding;
};

// One thread. What is never held against the scheduler: time in which the guest was frozen; time in
// which the virtual CPU in question wanted to run and the host did not let it; tasks that cpu.max
// throttles; SCHED_IDLE tasks; fair tasks for as long as their weight makes legal.
class Detectors {
 public:
  explicit Detectors(const MonitorLimits& limits) : limits_(limits), locks_(limits.lock_held) {}

  // What the sample shows that the ones before did not.
  std::vector<MonitorEvent> Add(const Sample& sample);
  // Begins anew.
  void Reset();

  // In the order in which they were found; those that last are up to date. At most kMostFindings.
  const std::vector<MonitorFinding>& findings() const { return findings_; }
  static constexpr size_t kMostFindings = 32;

  // A task's wait so far, for those that look on.
  struct Wait {
    TaskSample task;
    absl::Duration lasted;
    absl::Duration excused;
    absl::Duration limit;     // InfiniteDuration: may wait for good
    std::string legal;        // why it may
    std::string behind;       // "fifo task hog (pid 7)", that had its CPU all the time
  };
  // The longest first.
  std::vector<Wait> Waits() const;

 private:
  using Identity = std::tuple<uint64_t, int, uint64_t>;
  struct Waiter {
    TaskSample task;
    absl::Time began;
    absl::Duration lasted, excused;
    bool in_queue_of_idle_policy = false;
    bool suspected = false;
    bool found = false;
    // The task that had its CPU at every look; 0: not one.
    int behind_pid = 0;
    std::string behind;
    // Time in which one CPU idled that it may use, in a row.
    absl::Duration beside_idle;
    int idle_cpu = -1;
    std::optional<size_t> idle_finding;
    bool seen = false;
  };
  struct Cpu {
    CpuSample last;
    bool known = false;
    absl::Time began;
    absl::Duration lasted, ran;  // the clock stood still, and the vCPU ran meanwhile
    bool suspected = false;
    std::optional<size_t> finding;
  };
  struct Pair {
    absl::Time began;
    absl::Duration lasted;
    absl::Duration interrupted;  // meanwhile: something else used the light CPU for a moment
    bool confined = false;
    bool seen = false;
    std::optional<size_t> finding;
  };

  absl::Duration Excused(const Sample& sample, int cpu) const;
  absl::Duration LimitOf(const Waiter& waiter, const ScxSample& scx, std::string* why) const;
  void FollowCpus(const Sample& sample, std::vector<MonitorEvent>* events);
  void FollowTasks(const Sample& sample);
  void JudgeTasks(const Sample& sample, std::vector<MonitorEvent>* events);
  void JudgeIdle(const Sample& sample, std::vector<MonitorEvent>* events);
  void JudgeBalance(const Sample& sample, std::vector<MonitorEvent>* events);
  void JudgeScx(const Sample& sample, std::vector<MonitorEvent>* events);
  void JudgeLocks(const Sample& sample, std::vector<MonitorEvent>* events);
  MonitorFinding CpuFinding(const Cpu& cpu) const;
  MonitorFinding TaskFinding(const Waiter& waiter, const Sample& sample,
                             absl::Duration limit) const;
  // Its place in findings_; nothing when that is full.
  std::optional<size_t> Keep(const MonitorFinding& finding, std::vector<MonitorEvent>* events);

  const MonitorLimits limits_;
  LockWatch locks_;
  std::vector<Cpu> cpus_;
  std::map<Identity, Waiter> waiters_;
  std::map<std::pair<int, int>, Pair> pairs_;  // busy and light CPU
  std::vector<MonitorFinding> findings_;
  bool anybody_suspected_ = false;
  ScxSample last_scx_;
  bool scx_known_ = false;
  absl::Duration bypassed_;
  bool bypass_told_ = false;
  // Between two whole walks over the tasks.
  absl::Duration since_tasks_;
  std::map<int, absl::Duration> excused_since_tasks_;
};

}  // namespace stasis

#endif  // STASIS_TOOLS_MONITOR_DETECTORS_H_
