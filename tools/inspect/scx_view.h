// ScxView: what sched_ext was doing: the scheduler that is loaded, its dispatch queues, why the last
// one ended.
#ifndef STASIS_TOOLS_INSPECT_SCX_VIEW_H_
#define STASIS_TOOLS_INSPECT_SCX_VIEW_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "nlohmann/json.hpp"
#include "tools/inspect/kernel.h"

namespace stasis {

// A task on a dispatch queue (DSQ).
struct QueuedTask {
  int pid = 0;
  std::string comm;
  std::optional<uint64_t> vtime;  // on a queue that is ordered by it
};

struct DispatchQueue {
  std::string kind;         // "local", "global", "bypass", "user"
  std::optional<int> cpu;   // of a local queue, and one of a bypassed CPU
  std::optional<int> node;  // of a global one
  uint64_t id = 0;
  std::string scheduler;        // whose; empty with one alone
  uint64_t count = 0;           // as the kernel keeps it
  std::vector<QueuedTask> tasks;  // in the order in which they are dispatched
};

struct ScxView {
  bool built_in = false;  // the kernel has sched_ext
  std::string state;      // "disabled", "enabling", "enabled", "disabling"
  std::string ops;        // name of the scheduler that is, or was last, loaded
  std::optional<uint64_t> exit_kind;
  std::string exit_kind_name;  // "SCX_EXIT_ERROR_STALL"
  std::string exit_reason;
  std::string exit_message;
  std::optional<bool> all_tasks;                  // also those whose policy is not SCHED_EXT
  std::optional<int64_t> bypass_depth;            // more than 0: the kernel orders tasks itself
  std::optional<uint64_t> watchdog_timeout_jiffies;
  std::optional<uint64_t> watchdog_ran_jiffies;   // ago
  std::optional<uint64_t> enabled_count;          // schedulers that were enabled since the boot
  std::optional<uint64_t> rejected_tasks;         // that asked for SCHED_EXT and did not get it
  std::vector<std::pair<std::string, int64_t>> events;  // the kernel's counters (6.15)
  std::vector<DispatchQueue> queues;              // local ones first, by CPU
};

// Everything but the queues, which need the state. `unavailable` takes what was cut.
ScxView ReadScx(const Kernel& kernel, int cpus);
void ReadDispatchQueues(const Kernel& kernel, int cpus, ScxView* view,
                        std::vector<std::string>* unavailable);
// Whether the CPU's tasks are ordered by the kernel; nothing where it does not keep that.
std::optional<bool> IsBypassing(const Kernel& kernel, int cpu, const KernelStruct& rq);

// "local", "global", "bypass" or the id in hexadecimal.
std::string DispatchQueueName(uint64_t id);

// Most tasks of all queues together.
inline constexpr size_t kMostQueuedTasks = 1 << 16;

nlohmann::json ToJson(const ScxView& view);

}  // namespace stasis

#endif  // STASIS_TOOLS_INSPECT_SCX_VIEW_H_
