// LockWatch: a CPU whose runqueue lock is hardly ever free.
#ifndef STASIS_TOOLS_MONITOR_LOCK_WATCH_H_
#define STASIS_TOOLS_MONITOR_LOCK_WATCH_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "tools/monitor/sample.h"

namespace stasis {

// The lock of a runqueue is held for microseconds, interrupts off: at hardly any look it is. Where it
// is at most of them, something under it takes its time: a callback of a sched_ext scheduler, or the
// kernel's own scheduler. One thread.
class LockWatch {
 public:
  // So many looks, over the limit's time at least, with the lock held at this share of them.
  static constexpr int kLooks = 20;
  static constexpr double kShare = 0.5;

  struct Held {
    int cpu = 0;
    int looks = 0;
    int held = 0;
    absl::Duration lasted;
    std::string comm;  // that was current at the last of them
    int pid = 0;
  };

  explicit LockWatch(absl::Duration limit) : limit_(limit) {}

  // The CPUs that the sample shows to be so, which did not count as such before. A look at a virtual
  // CPU whose thread hardly ran since the one before says nothing: it may have been stopped with
  // the lock held.
  std::vector<Held> Add(const Sample& sample);
  void Reset() { cpus_.clear(); }

 private:
  struct Cpu {
    int looks = 0;
    int held = 0;
    absl::Duration lasted;
    bool told = false;
  };

  const absl::Duration limit_;
  std::vector<Cpu> cpus_;
};

}  // namespace stasis

#endif  // STASIS_TOOLS_MONITOR_LOCK_WATCH_H_
