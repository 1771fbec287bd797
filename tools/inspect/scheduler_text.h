// What `stasis dump tasks|runqueues|scx|cgroups` prints.
#ifndef STASIS_TOOLS_INSPECT_SCHEDULER_TEXT_H_
#define STASIS_TOOLS_INSPECT_SCHEDULER_TEXT_H_

#include <optional>
#include <string>

#include "tools/inspect/scheduler_view.h"

namespace stasis {

struct TaskFilter {
  std::optional<int> cpu;
  std::string states;  // any of these letters; empty: all
  std::string cgroup;  // this one and those below it; empty: all
};

// Tables that end in a newline. Text of the guest is made printable.
std::string TasksText(const SchedulerView& view, const TaskFilter& filter);
// Every CPU with what waits on it in the order in which the kernel would take it; those on which a
// task has waited for kWorthTellingNs come first, the longest waiting at the top.
std::string RunqueuesText(const SchedulerView& view, const TaskFilter& filter);
// With the tasks that are in no queue first, then the queues by their longest waiting task.
std::string ScxText(const SchedulerView& view, const TaskFilter& filter = {});
std::string CgroupsText(const SchedulerView& view, const TaskFilter& filter = {});

// One line about the task that has waited longest, for a summary; empty when none waits for
// kWorthTelling.
std::string LongestWaitText(const SchedulerView& view);

inline constexpr uint64_t kWorthTellingNs = 100'000'000;

}  // namespace stasis

#endif  // STASIS_TOOLS_INSPECT_SCHEDULER_TEXT_H_
