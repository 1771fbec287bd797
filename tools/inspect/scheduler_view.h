// SchedulerView: what a Linux kernel's scheduler was doing, read from its memory alone (rule D5).
#ifndef STASIS_TOOLS_INSPECT_SCHEDULER_VIEW_H_
#define STASIS_TOOLS_INSPECT_SCHEDULER_VIEW_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "nlohmann/json.hpp"
#include "tools/inspect/kernel.h"
#include "tools/inspect/runqueue_view.h"
#include "tools/inspect/scx_view.h"

namespace stasis {

// A task (a thread). Numbers that this kernel does not keep are nothing.
struct TaskView {
  uint64_t address = 0;
  int pid = 0;
  int tgid = 0;
  std::string comm;
  char state = '?';  // as ps(1) has it: R S D T t X Z P I, or N for one that is not yet woken
  int cpu = -1;      // where it runs, or ran last
  bool on_cpu = false;
  bool queued = false;  // on a runqueue, running or waiting
  std::string policy;   // "normal", "fifo", "rr", "batch", "idle", "deadline", "ext"
  int nice = 0;
  int rt_priority = 0;
  std::string cpus_allowed;  // "0-3"
  std::string cgroup;        // "/left"; of the default hierarchy
  std::optional<uint64_t> vruntime_ns;
  std::optional<uint64_t> deadline_ns;  // in virtual time, since EEVDF (6.6)
  std::optional<uint64_t> slice_ns;
  std::optional<int64_t> lag_ns;
  std::optional<uint64_t> run_ns;        // in all
  std::optional<uint64_t> run_delay_ns;  // in all, without the present wait
  // How long it has been waiting for a CPU by its runqueue's clock. Of a task that is queued and
  // does not run; the kernel forgets it when it moves the task to another CPU.
  std::optional<uint64_t> waiting_ns;
  // Of a task of a sched_ext scheduler.
  std::optional<std::string> queue;       // where it waits: "local", "global", "0x1234", "none"
  std::optional<uint64_t> queue_waiting_jiffies;  // since it became runnable
};

struct RunqueueView {
  int cpu = 0;
  uint64_t address = 0;  // 0: the CPU has none, and the rest is empty
  bool online = false;
  uint64_t clock_ns = 0;
  uint64_t running = 0;  // tasks on it, the current one included, but for the idle task
  // By class; nothing where the kernel has no such class.
  std::optional<uint64_t> fair, rt, deadline, ext;
  uint64_t switches = 0;
  int current_pid = 0;
  std::string current_comm;
  bool idle = false;  // runs its idle task
  std::optional<uint64_t> idle_ns;  // since when, by the furthest of all runqueue clocks
  std::optional<bool> tick_stopped;
  // How long ago its tick last came; of one that is not stopped it is 0 or 1 (7: not known).
  std::optional<uint64_t> tick_behind_jiffies;
  std::optional<bool> bypassing;  // sched_ext has fallen back to the kernel's own order
  std::optional<uint32_t> lock;   // rq->__lock, a qspinlock: see IsHeld, IsContended
  RunqueueQueues queues;
};

// Of a qspinlock (include/asm-generic/qspinlock_types.h): the low byte is the holder's, who is not
// named, the rest of those who wait.
inline bool IsHeld(uint32_t qspinlock) { return (qspinlock & 0xff) != 0; }
inline bool IsContended(uint32_t qspinlock) { return (qspinlock & ~0xffu) != 0; }
inline constexpr char kRunqueueLock[] = "__lock.raw_lock.val.counter";

struct SchedulerView {
  std::vector<RunqueueView> runqueues;
  std::vector<TaskView> tasks;  // the longest waiting first, then the running, then the rest by pid
  ScxView scx;
  std::optional<uint64_t> jiffies;
  std::optional<uint64_t> tick_ns;  // one jiffy
  std::vector<std::string> unavailable;  // what this kernel does not have, or what was cut
};

// Most tasks that are read; the kernel's default for pid_max.
inline constexpr size_t kMostViewedTasks = 32768;

// What of it is read. A look that is taken often can do without the rest.
struct SchedulerParts {
  bool tasks = true;
  bool queues = true;  // RunqueueView::queues and ScxView::queues
};

// The guest stands still, or what is read may be torn. Never fails: lists that lead in circles or
// nowhere end, and that is said.
SchedulerView ReadScheduler(const Kernel& kernel, const SchedulerParts& parts = {});

// The member `scheduler` of a dump (docs/dump-format.md).
nlohmann::json ToJson(const SchedulerView& view);

}  // namespace stasis

#endif  // STASIS_TOOLS_INSPECT_SCHEDULER_VIEW_H_
