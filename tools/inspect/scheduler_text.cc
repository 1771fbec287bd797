#include "tools/inspect/scheduler_text.h"

#include <algorithm>
#include <map>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

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

// Tasks by number, and whether the filter lets them through.
class TaskTable {
 public:
  TaskTable(const SchedulerView& view, const TaskFilter& filter) {
    for (const TaskView& task : view.tasks) {
      // Idle tasks all have number 0, and wait for nothing.
      if (task.pid == 0) continue;
      tasks_.try_emplace(task.pid, &task);
      if (!Matches(task, filter)) continue;
      shown_.insert(task.pid);
      if (task.queued && !task.on_cpu) waiting_[task.cpu].push_back(&task);
    }
  }
  const TaskView* Find(int pid) const {
    const auto found = tasks_.find(pid);
    return found == tasks_.end() ? nullptr : found->second;
  }
  // A number that no task has (of a queue that the guest overwrote) is shown without a filter.
  bool Shows(int pid, const TaskFilter& filter) const {
    return shown_.count(pid) != 0 ||
           (Find(pid) == nullptr && filter.states.empty() && filter.cgroup.empty());
  }
  const std::vector<const TaskView*>& Waiting(int cpu) const {
    static const auto& none = *new std::vector<const TaskView*>;
    const auto found = waiting_.find(cpu);
    return found == waiting_.end() ? none : found->second;
  }
  uint64_t LongestWait(int cpu) const {
    uint64_t longest = 0;
    for (const TaskView* task : Waiting(cpu)) {
      longest = std::max(longest, task->waiting_ns.value_or(0));
    }
    return longest;
  }

 private:
  std::unordered_map<int, const TaskView*> tasks_;
  std::unordered_set<int> shown_;
  std::map<int, std::vector<const TaskView*>> waiting_;
};

std::string SignedDuration(int64_t ns) {
  return ns < 0 ? absl::StrCat("-", Duration(-static_cast<uint64_t>(ns)))
                : absl::StrCat("+", Duration(ns));
}

std::string Jiffies(const SchedulerView& view, uint64_t jiffies) {
  return view.tick_ns.has_value() ? Duration(jiffies * *view.tick_ns)
                                  : absl::StrCat(jiffies, " jiffies");
}

// What stands behind the current task of a CPU.
std::string Remarks(const SchedulerView& view, const RunqueueView& rq) {
  std::string text;
  if (!rq.online) text += ", offline";
  if (rq.idle && rq.idle_ns.has_value()) {
    absl::StrAppend(&text, ", idle for ", Duration(rq.idle_ns));
  }
  constexpr uint64_t kLateTicks = 3;
  if (rq.online && !rq.tick_stopped.value_or(true) &&
      rq.tick_behind_jiffies.value_or(0) >= kLateTicks) {
    absl::StrAppend(&text, ", no tick for ", Jiffies(view, *rq.tick_behind_jiffies));
  }
  if (rq.bypassing.value_or(false)) text += ", sched_ext bypassed";
  if (const uint32_t lock = rq.lock.value_or(0); IsHeld(lock)) {
    text += IsContended(lock) ? ", runqueue locked and waited for" : ", runqueue locked";
  }
  return text;
}

// ", waiting 1.2 s" of a task that does.
std::string Wait(const TaskView* task) {
  if (task == nullptr || !task->waiting_ns.has_value()) return "";
  return absl::StrCat(", waiting ", Duration(task->waiting_ns));
}

// The queues of one CPU in their order. Groups without a task that the filter shows are left out.
void AppendQueues(const RunqueueView& rq, const TaskTable& tasks, const TaskFilter& filter,
                  std::string* text) {
  for (const DeadlineEntity& entity : rq.queues.deadline) {
    if (!entity.server && !tasks.Shows(entity.pid, filter)) continue;
    if (entity.server && !(filter.states.empty() && filter.cgroup.empty())) continue;
    absl::StrAppend(
        text, "     dl    ", Printable(entity.comm),
        entity.server ? "" : absl::StrCat(" (pid ", entity.pid, ")"), ", ",
        SignedDuration(static_cast<int64_t>(entity.deadline_ns - rq.clock_ns)),
        " to its deadline, ", SignedDuration(entity.runtime_ns), " of run time left",
        entity.throttled ? ", throttled" : "", Wait(tasks.Find(entity.pid)), "\n");
  }
  for (const RealTimeEntity& entity : rq.queues.real_time) {
    if (!tasks.Shows(entity.pid, filter)) continue;
    absl::StrAppend(text, "     rt ", entity.priority, entity.priority < 10 ? " " : "", " ",
                    entity.current ? "*" : "", Printable(entity.comm), " (pid ", entity.pid, ")",
                    Wait(tasks.Find(entity.pid)), "\n");
  }
  std::vector<std::string> pending;  // groups of what follows, by depth; empty when shown
  for (const FairEntity& entity : rq.queues.fair) {
    const std::string indent(2 * static_cast<size_t>(entity.depth), ' ');
    std::string line =
        absl::StrCat("     fair  ", indent, entity.current ? "*" : "",
                     Printable(entity.group.empty() ? entity.comm : entity.group));
    if (entity.group.empty()) {
      absl::StrAppend(&line, " (pid ", entity.pid, ")");
    } else {
      absl::StrAppend(&line, ", ", entity.queued, " queued");
    }
    constexpr uint64_t kLoadUnit = 1024;
    if (!entity.throttled || entity.group.empty()) {
      absl::StrAppend(&line, ", weight ", entity.weight / kLoadUnit, ", vruntime ",
                      Duration(entity.vruntime_ns));
      if (entity.deadline_ns.has_value()) {
        absl::StrAppend(
            &line, ", deadline ",
            SignedDuration(static_cast<int64_t>(*entity.deadline_ns - entity.vruntime_ns)));
      }
      if (entity.lag_ns.has_value()) {
        absl::StrAppend(&line, ", lag ", SignedDuration(*entity.lag_ns));
      }
    }
    if (entity.throttled) line += ", THROTTLED";
    if (entity.delayed) line += ", asleep";
    const size_t depth = static_cast<size_t>(entity.depth);
    pending.resize(std::min(pending.size(), depth));
    if (!entity.group.empty()) {
      pending.resize(depth);
      pending.push_back(line + "\n");
      continue;
    }
    if (!tasks.Shows(entity.pid, filter)) continue;
    for (std::string& group : pending) {
      *text += group;
      group.clear();
    }
    absl::StrAppend(text, line, Wait(tasks.Find(entity.pid)), "\n");
  }
}

// Tasks that are queued on this CPU and in none of its queues above: those of sched_ext, mostly.
void AppendOthers(const RunqueueView& rq, const TaskTable& tasks, std::string* text) {
  std::unordered_set<int> shown;
  for (const FairEntity& entity : rq.queues.fair) shown.insert(entity.pid);
  for (const RealTimeEntity& entity : rq.queues.real_time) shown.insert(entity.pid);
  for (const DeadlineEntity& entity : rq.queues.deadline) shown.insert(entity.pid);
  for (const TaskView* task : tasks.Waiting(rq.cpu)) {
    if (shown.count(task->pid) != 0) continue;
    absl::StrAppend(text, "     ", task->queue.has_value() ? "ext   " : "?     ",
                    Printable(task->comm), " (pid ", task->pid, "), ", PolicyText(*task),
                    task->queue.has_value() ? absl::StrCat(", queue ", *task->queue) : "",
                    Wait(task), "\n");
  }
}

// "domains  CPU 0-3: MC 0-1, PKG 0-3"; CPUs with the same domains together.
void AppendDomains(const SchedulerView& view, const TaskFilter& filter, std::string* text) {
  std::vector<std::pair<std::string, std::vector<int>>> chains;
  for (const RunqueueView& rq : view.runqueues) {
    if (filter.cpu.has_value() && rq.cpu != *filter.cpu) continue;
    std::string chain;
    for (const SchedDomain& domain : rq.queues.domains) {
      absl::StrAppend(&chain, chain.empty() ? "" : ", ",
                      domain.name.empty() ? absl::StrCat("level ", domain.level)
                                          : Printable(domain.name),
                      " ", domain.span);
    }
    if (chain.empty()) chain = "none";
    const auto found = std::find_if(chains.begin(), chains.end(),
                                    [&](const auto& known) { return known.first == chain; });
    if (found != chains.end()) {
      found->second.push_back(rq.cpu);
    } else {
      chains.push_back({chain, {rq.cpu}});
    }
  }
  for (const auto& [chain, cpus] : chains) {
    std::vector<uint64_t> mask;
    for (const int cpu : cpus) {
      mask.resize(std::max<size_t>(mask.size(), cpu / 64 + 1));
      mask[cpu / 64] |= uint64_t{1} << (cpu % 64);
    }
    absl::StrAppend(text, "domains of CPU ", CpuList(mask, static_cast<int>(mask.size() * 64)),
                    ": ", chain, "\n");
  }
}

std::string QueueName(const DispatchQueue& queue) {
  return queue.kind == "user" ? DispatchQueueName(queue.id) : queue.kind;
}

std::string QueueTitle(const DispatchQueue& queue) {
  std::string text = absl::StrCat("queue ", QueueName(queue));
  if (queue.cpu.has_value()) absl::StrAppend(&text, " of CPU ", *queue.cpu);
  if (queue.node.has_value()) absl::StrAppend(&text, " of node ", *queue.node);
  if (!queue.scheduler.empty()) absl::StrAppend(&text, " of ", Printable(queue.scheduler));
  absl::StrAppend(&text, ": ", queue.count, " tasks");
  if (queue.count != queue.tasks.size()) {
    absl::StrAppend(&text, ", ", queue.tasks.size(), " found");
  }
  return text;
}

void AppendDispatchQueues(const ScxView& scx, const TaskTable& tasks, const TaskFilter& filter,
                          std::string* text) {
  struct Shown {
    const DispatchQueue* queue;
    uint64_t longest = 0;
  };
  std::vector<Shown> order;
  for (const DispatchQueue& queue : scx.queues) {
    if (filter.cpu.has_value() && queue.cpu.has_value() && *queue.cpu != *filter.cpu) continue;
    Shown shown{&queue};
    for (const QueuedTask& task : queue.tasks) {
      const TaskView* known = tasks.Find(task.pid);
      if (known != nullptr) shown.longest = std::max(shown.longest, known->waiting_ns.value_or(0));
    }
    if (shown.longest < kWorthTellingNs) shown.longest = 0;
    order.push_back(shown);
  }
  std::stable_sort(order.begin(), order.end(), [](const Shown& a, const Shown& b) {
    if (a.longest != b.longest) return a.longest > b.longest;
    return !a.queue->tasks.empty() && b.queue->tasks.empty();
  });
  std::vector<std::string> empty;
  for (const Shown& shown : order) {
    if (shown.queue->tasks.empty() && shown.queue->count == 0) {
      empty.push_back(absl::StrCat(
          QueueName(*shown.queue),
          shown.queue->cpu.has_value() ? absl::StrCat(" of CPU ", *shown.queue->cpu) : ""));
      continue;
    }
    absl::StrAppend(text, QueueTitle(*shown.queue), "\n");
    for (const QueuedTask& task : shown.queue->tasks) {
      if (!tasks.Shows(task.pid, filter)) continue;
      const TaskView* known = tasks.Find(task.pid);
      if (known != nullptr) {
        std::string row = Row(*known, false);
        row.pop_back();
        *text += row;
      } else {
        absl::StrAppendFormat(text, "%7d %7s  %-16s", task.pid, "-", Printable(task.comm));
      }
      if (task.vtime.has_value()) absl::StrAppend(text, "  vtime ", *task.vtime);
      *text += "\n";
    }
  }
  constexpr size_t kMostEmpty = 16;
  if (empty.empty()) return;
  const size_t named = std::min(empty.size(), kMostEmpty);
  absl::StrAppend(text, "empty queues: ",
                  absl::StrJoin(empty.begin(), empty.begin() + static_cast<int64_t>(named), ", "),
                  named < empty.size() ? absl::StrCat(" and ", empty.size() - named, " more") : "",
                  "\n");
}

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
  const TaskTable tasks(view, filter);
  std::vector<std::pair<uint64_t, const RunqueueView*>> order;
  for (const RunqueueView& rq : view.runqueues) {
    if (filter.cpu.has_value() && rq.cpu != *filter.cpu) continue;
    const uint64_t wait = tasks.LongestWait(rq.cpu);
    order.emplace_back(wait < kWorthTellingNs ? 0 : wait, &rq);
  }
  std::stable_sort(order.begin(), order.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  std::string text = "CPU  RUNNABLE  FAIR  RT  DL  EXT      SWITCHES  TICK     CURRENT\n";
  for (const auto& [wait, rq] : order) {
    absl::StrAppendFormat(&text, "%3d  %8d  %4s  %2s  %2s  %3s  %12d  %-7s  %s (pid %d)%s\n",
                          rq->cpu, rq->running, Number(rq->fair), Number(rq->rt),
                          Number(rq->deadline), Number(rq->ext), rq->switches,
                          !rq->tick_stopped.has_value() ? "-"
                          : *rq->tick_stopped           ? "stopped"
                                                        : "runs",
                          Printable(rq->current_comm), rq->current_pid, Remarks(view, *rq));
    AppendQueues(*rq, tasks, filter, &text);
    AppendOthers(*rq, tasks, &text);
  }
  AppendDomains(view, filter, &text);
  return text + Unavailable(view);
}

std::string ScxText(const SchedulerView& view, const TaskFilter& filter) {
  const ScxView& scx = view.scx;
  if (!scx.built_in) return "this kernel was built without sched_ext\n";
  std::string text = absl::StrCat("sched_ext  ", scx.state, "\n");
  if (!scx.ops.empty()) {
    absl::StrAppend(&text, "scheduler  ", Printable(scx.ops),
                    !scx.all_tasks.has_value() || scx.state != "enabled" ? ""
                    : *scx.all_tasks ? ", of all tasks"
                                     : ", of tasks with SCHED_EXT alone",
                    "\n");
  }
  if (scx.exit_kind.value_or(0) != 0) {
    absl::StrAppendFormat(&text, "exit       %s, %s\n",
                          scx.exit_kind_name.empty() ? absl::StrCat("kind ", *scx.exit_kind)
                                                     : Printable(scx.exit_kind_name),
                          Printable(scx.exit_reason));
    if (!scx.exit_message.empty()) {
      absl::StrAppend(&text, "message    ", Printable(scx.exit_message), "\n");
    }
  }
  if (scx.bypass_depth.value_or(0) != 0) {
    absl::StrAppend(&text, "bypass     depth ", *scx.bypass_depth,
                    ": the kernel orders tasks itself\n");
  }
  if (scx.watchdog_timeout_jiffies.has_value()) {
    absl::StrAppend(&text, "watchdog   ", Jiffies(view, *scx.watchdog_timeout_jiffies));
    if (scx.watchdog_ran_jiffies.has_value()) {
      absl::StrAppend(&text, ", looked ", Jiffies(view, *scx.watchdog_ran_jiffies), " ago");
    }
    text += "\n";
  }
  for (const auto& [name, count] : scx.events) {
    if (count != 0) absl::StrAppend(&text, "event      ", Printable(name), " ", count, "\n");
  }
  const TaskTable tasks(view, filter);
  std::vector<const TaskView*> lost;
  for (const TaskView& task : view.tasks) {
    if (task.queue == "none" && Matches(task, filter)) lost.push_back(&task);
  }
  if (!lost.empty()) {
    absl::StrAppend(&text, "in no queue (with the BPF scheduler, or lost by it): ", lost.size(),
                    " tasks\n", kTaskHeader);
    for (const TaskView* task : lost) text += Row(*task, false);
  }
  AppendDispatchQueues(scx, tasks, filter, &text);
  return text + Unavailable(view);
}

std::string CgroupsText(const SchedulerView& view, const TaskFilter& filter) {
  struct Sum {
    int tasks = 0, running = 0, waiting = 0;
    uint64_t run_ns = 0, delay_ns = 0, longest_ns = 0;
  };
  std::map<std::string, Sum> sums;
  for (const TaskView& task : view.tasks) {
    if (!Matches(task, filter)) continue;
    Sum& sum = sums[task.cgroup];
    ++sum.tasks;
    sum.running += task.on_cpu;
    sum.waiting += task.queued && !task.on_cpu && task.pid != 0;
    sum.run_ns += task.run_ns.value_or(0);
    sum.delay_ns += task.run_delay_ns.value_or(0);
    sum.longest_ns = std::max(sum.longest_ns, task.waiting_ns.value_or(0));
  }
  std::vector<std::pair<std::string, Sum>> order(sums.begin(), sums.end());
  std::stable_sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
    const auto suspicion = [](const Sum& sum) {
      return sum.longest_ns < kWorthTellingNs ? 0 : sum.longest_ns;
    };
    return suspicion(a.second) > suspicion(b.second);
  });
  std::string text = "TASKS  RUNNING  WAITING         RAN     DELAYED  LONGEST WAIT  CGROUP\n";
  for (const auto& [cgroup, sum] : order) {
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
