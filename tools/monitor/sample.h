// Sample: what the monitor saw of a running guest's scheduler in one look.
#ifndef STASIS_TOOLS_MONITOR_SAMPLE_H_
#define STASIS_TOOLS_MONITOR_SAMPLE_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "guest/scenario/cpu_set.h"

namespace stasis {

// include/uapi/linux/sched.h
enum class Policy {
  kNormal = 0,
  kFifo = 1,
  kRoundRobin = 2,
  kBatch = 3,
  kIdle = 5,
  kDeadline = 6,
  kExt = 7,
};
const char* PolicyName(Policy policy);
inline bool IsRealTime(Policy policy) {
  return policy == Policy::kFifo || policy == Policy::kRoundRobin || policy == Policy::kDeadline;
}

struct CpuSample {
  int cpu = 0;
  // It changed while it was read, each time that was tried: nothing below it is known.
  bool torn = false;
  bool online = false;
  bool active = true;  // false as well while it is being unplugged: nobody is to come to it then
  uint64_t clock_ns = 0;  // rq->clock
  uint64_t running = 0;   // rq->nr_running: the current task is one of them, the idle task is not
  uint64_t switches = 0;
  bool idle = true;  // the current task is the idle task
  int pid = 0;       // of the current task
  std::string comm;
  Policy policy = Policy::kNormal;
  int rt_priority = 0;
  bool rt_throttled = false;
  std::optional<bool> tick_stopped;
  bool bypassing = false;               // of sched_ext
  std::optional<bool> locked;           // somebody holds the runqueue's lock
  std::optional<uint64_t> fair_weight;  // of all fair entities on it
  size_t waiting = 0;                   // tasks that wait for it: runnable, neither running nor throttled
  // Of the thread of this virtual CPU, since the sample before; nothing without schedstats.
  std::optional<absl::Duration> host_ran;
  std::optional<absl::Duration> host_delay;
};

// A task that is runnable and does not run.
struct TaskSample {
  // Identity: the kernel may use memory and pid again, but not all three.
  uint64_t address = 0;
  int pid = 0;
  uint64_t start_ns = 0;
  // Changes whenever the task runs: how often it got a CPU, and the CPU time it had.
  uint64_t arrivals = 0;
  uint64_t run_ns = 0;

  int tgid = 0;
  std::string comm;
  std::string cgroup;  // "/left"
  int cpu = 0;         // for which it waits
  Policy policy = Policy::kNormal;
  int nice = 0;
  int rt_priority = 0;
  CpuSet allowed;
  bool throttled = false;            // by cpu.max, or as a deadline task out of budget
  std::optional<double> share;       // of its CPU that its weights ask for, 0..1; of fair tasks
  std::optional<std::string> queue;  // of sched_ext: "local", "global", "0x1234", "none"
  std::optional<uint64_t> queued_ns;  // since the kernel put it on this runqueue

  bool SameTask(const TaskSample& other) const {
    return address == other.address && pid == other.pid && start_ns == other.start_ns;
  }
  bool RanSince(const TaskSample& before) const {
    return arrivals != before.arrivals || run_ns != before.run_ns;
  }
};

struct ScxSample {
  bool built_in = false;
  bool enabled = false;
  std::string state;  // "disabled", "enabling", "enabled", "disabling"
  std::string ops;
  uint64_t exit_kind = 0;
  bool exit_is_error = false;  // the kernel, or the scheduler itself, gave up
  std::string exit_reason;
  std::string exit_message;
  absl::Duration watchdog;  // its own limit for a task that does not run
};

struct Sample {
  absl::Time time;          // CLOCK_MONOTONIC of the host
  absl::Duration interval;  // since the sample before, without the time in which the guest was frozen
  absl::Duration stopped;   // of it, the whole host stood still
  std::vector<CpuSample> cpus;   // by number
  std::vector<TaskSample> tasks;  // that wait; not in order
  bool tasks_torn = false;       // the walk over all tasks was led astray: `tasks` is empty
  size_t all_tasks = 0;
  size_t raced = 0;  // tasks that ran or moved while they were read, and are not in `tasks`
  ScxSample scx;
};

}  // namespace stasis

#endif  // STASIS_TOOLS_MONITOR_SAMPLE_H_
