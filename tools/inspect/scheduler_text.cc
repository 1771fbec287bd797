#include "tools/inspect/scheduler_text.h"

#include <algorithm>
#include <map>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace stasis {
namespace {

std::string Printable(std::string text) {
  for (char& c : text) {
    if (!absl::ascii_isprint(static_cast<unsigned char>(c))) c = '?';
  }
  return text;
}

std::string Duration(std::optional<uint64_t> ns) {
  if (!ns.has_value()) return "-";
  const double value = static_cast<double>(*ns);
  if (value < 1e6) return absl::StrFormat("%.0f us", value / 1e3);
  if (value < 1e9) return absl::StrFormat("%.1f ms", value / 1e6);
  return absl::StrFormat("%.2f s", value / 1e9);
}

template <typename T>
std::string Number(const std::optional<T>& value) {
  return value.has_value() ? absl::StrCat(*value) : "-";
}

bool Matches(const TaskView& task, const TaskFilter& filter) {
  if (filter.cpu.has_value() && task.cpu != *filter.cpu) return false;
  if (!filter.states.empty() && !absl::StrContains(filter.states, std::string(1, task.state))) {
    return false;
  }
  if (filter.cgroup.empty() || filter.cgroup == "/" || task.cgroup == filter.cgroup) return true;
  return absl::StartsWith(task.cgroup, absl::StrCat(filter.cgroup, "/"));
}

std::string Unavailable(const SchedulerView& view) {
  std::string text;
  for (const std::string& line : view.unavailable) {
    absl::StrAppend(&text, "unavailable: ", Printable(line), "\n");
  }
  return text;
}

// "normal", "nice 5", "fifo 50".
std::string PolicyText(const TaskView& task) {
  if (task.policy == "fifo" || task.policy == "rr") {
    return absl::StrCat(task.policy, " ", task.rt_priority);
  }
  return task.nice == 0 ? task.policy : absl::StrCat(task.policy, " ", task.nice);
}

std::string Row(const TaskView& task, bool with_queue) {
  std::string row = absl::StrFormat(
      "%7d %7d  %-16s %c%c %3d  %-10s %10s %10s %10s  %-8s %s", task.pid, task.tgid,
      Printable(task.comm), task.state, task.on_cpu ? '*' : task.queued ? '+' : ' ', task.cpu,
      PolicyText(task), Duration(task.waiting_ns), Duration(task.run_ns),
      Duration(task.run_delay_ns), task.cpus_allowed, Printable(task.cgroup));
  if (with_queue && task.queue.has_value()) absl::StrAppend(&row, "  queue ", *task.queue);
  return row + "\n";
}

constexpr char kTaskHeader[] =
    "    PID    TGID  COMM             S  CPU  POLICY        WAITING        RAN     DELAYED  CPUS    "
    " CGROUP\n";

}  // namespace

std::string TasksText(const SchedulerView& view, const TaskFilter& filter) {
  std::string text = kTaskHeader;
  size_t shown = 0;
  for (const TaskView& task : view.tasks) {
    if (!Matches(task, filter)) continue;
    text += Row(task, view.scx.state == "enabled");
    ++shown;
  }
  absl::StrAppend(&text, shown, " of ", view.tasks.size(),
                  " tasks; '*' runs, '+' is on a runqueue; the longest waiting first\n");
  return text + Unavailable(view);
}

std::string RunqueuesText(const SchedulerView& view, const TaskFilter& filter) {
  std::string text =
      "CPU  RUNNABLE  FAIR  RT  DL  EXT      SWITCHES  TICK     CURRENT\n";
  for (const RunqueueView& rq : view.runqueues) {
    if (filter.cpu.has_value() && rq.cpu != *filter.cpu) continue;
    absl::StrAppendFormat(
        &text, "%3d  %8d  %4s  %2s  %2s  %3s  %12d  %-7s  %s (pid %d)%s%s\n", rq.cpu, rq.running,
        Number(rq.fair), Number(rq.rt), Number(rq.deadline), Number(rq.ext), rq.switches,
        !rq.tick_stopped.has_value() ? "-"
        : *rq.tick_stopped           ? "stopped"
                                     : "runs",
        Printable(rq.current_comm), rq.current_pid, rq.online ? "" : ", offline",
        rq.bypassing.value_or(0) != 0 ? ", sched_ext bypassed" : "");
    std::vector<const TaskView*> waiting;
    for (const TaskView& task : view.tasks) {
      // Idle tasks wait for nothing.
      if (task.cpu == rq.cpu && task.queued && !task.on_cpu && task.pid != 0 &&
          Matches(task, filter)) {
        waiting.push_back(&task);
      }
    }
    // As the fair class would take them; the others have no virtual deadline.
    std::stable_sort(waiting.begin(), waiting.end(), [](const TaskView* a, const TaskView* b) {
      return a->deadline_ns.value_or(a->vruntime_ns.value_or(0)) <
             b->deadline_ns.value_or(b->vruntime_ns.value_or(0));
    });
    for (const TaskView* task : waiting) {
      absl::StrAppendFormat(&text, "       %c %s (pid %d), %s, waiting %s", task->state,
                            Printable(task->comm), task->pid, PolicyText(*task),
                            Duration(task->waiting_ns));
      if (task->queue.has_value()) absl::StrAppend(&text, ", queue ", *task->queue);
      if (task->vruntime_ns.has_value()) {
        absl::StrAppend(&text, ", vruntime ", Duration(task->vruntime_ns));
      }
      text += "\n";
    }
  }
  return text + Unavailable(view);
}

std::string ScxText(const SchedulerView& view) {
  const ScxView& scx = view.scx;
  if (!scx.built_in) return "this kernel was built without sched_ext\n";
  std::string text = absl::StrCat("sched_ext  ", scx.state, "\n");
  if (!scx.ops.empty()) absl::StrAppend(&text, "scheduler  ", Printable(scx.ops), "\n");
  if (scx.exit_kind.value_or(0) != 0) {
    absl::StrAppendFormat(&text, "exit       kind %d, %s\n", *scx.exit_kind,
                          Printable(scx.exit_reason));
    if (!scx.exit_message.empty()) {
      absl::StrAppend(&text, "message    ", Printable(scx.exit_message), "\n");
    }
  }
  std::map<std::string, std::vector<const TaskView*>> queues;
  for (const TaskView& task : view.tasks) {
    if (task.queue.has_value()) queues[*task.queue].push_back(&task);
  }
  for (const auto& [queue, tasks] : queues) {
    absl::StrAppend(&text, "queue ", queue,
                    queue == "none" ? " (with the BPF scheduler, or lost by it)" : "", ": ",
                    tasks.size(), " tasks\n");
    for (const TaskView* task : tasks) text += Row(*task, false);
  }
  return text + Unavailable(view);
}

std::string CgroupsText(const SchedulerView& view) {
  struct Sum {
    int tasks = 0, running = 0, waiting = 0;
    uint64_t run_ns = 0, delay_ns = 0, longest_ns = 0;
  };
  std::map<std::string, Sum> sums;
  for (const TaskView& task : view.tasks) {
    Sum& sum = sums[task.cgroup];
    ++sum.tasks;
    sum.running += task.on_cpu;
    sum.waiting += task.queued && !task.on_cpu && task.pid != 0;
    sum.run_ns += task.run_ns.value_or(0);
    sum.delay_ns += task.run_delay_ns.value_or(0);
    sum.longest_ns = std::max(sum.longest_ns, task.waiting_ns.value_or(0));
  }
  std::string text = "TASKS  RUNNING  WAITING         RAN     DELAYED  LONGEST WAIT  CGROUP\n";
  for (const auto& [cgroup, sum] : sums) {
    absl::StrAppendFormat(&text, "%5d  %7d  %7d  %10s  %10s  %12s  %s\n", sum.tasks, sum.running,
                          sum.waiting, Duration(sum.run_ns), Duration(sum.delay_ns),
                          Duration(sum.longest_ns), Printable(cgroup));
  }
  return text + Unavailable(view);
}

std::string LongestWaitText(const SchedulerView& view) {
  if (view.tasks.empty()) return "";
  const TaskView& task = view.tasks.front();
  if (task.waiting_ns.value_or(0) < kWorthTellingNs) return "";
  std::string text =
      absl::StrFormat("%s (pid %d, %s, cgroup %s) waits for CPU %d since %s", Printable(task.comm),
                      task.pid, PolicyText(task), Printable(task.cgroup), task.cpu,
                      Duration(task.waiting_ns));
  for (const RunqueueView& rq : view.runqueues) {
    if (rq.cpu != task.cpu) continue;
    absl::StrAppendFormat(&text, ", which runs %s (pid %d)", Printable(rq.current_comm),
                          rq.current_pid);
  }
  if (task.queue == "none") text += "; it is in no queue of sched_ext";
  return text;
}

}  // namespace stasis
