#include "tools/inspect/scheduler_view.h"

#include <algorithm>
#include <unordered_set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace stasis {
namespace {

constexpr int kMostCpus = 4096;

// include/linux/sched.h
constexpr uint64_t kInterruptible = 0x1, kUninterruptible = 0x2, kStopped = 0x4, kTraced = 0x8,
                   kParked = 0x40, kDead = 0x80, kNoload = 0x400, kNew = 0x800;
constexpr uint64_t kExitDead = 0x10, kExitZombie = 0x20;
constexpr int kNice0Priority = 120;  // static_prio of nice 0

// include/uapi/linux/sched.h
const char* PolicyName(uint64_t policy) {
  constexpr const char* kNames[] = {"normal", "fifo", "rr", "batch", "?", "idle", "deadline", "ext"};
  return policy < std::size(kNames) ? kNames[policy] : "?";
}

char StateOf(uint64_t state, uint64_t exit_state) {
  if ((exit_state & kExitZombie) != 0) return 'Z';
  if ((exit_state & kExitDead) != 0 || (state & kDead) != 0) return 'X';
  if ((state & kNew) != 0) return 'N';
  if ((state & kParked) != 0) return 'P';
  if ((state & kTraced) != 0) return 't';
  if ((state & kStopped) != 0) return 'T';
  if ((state & kUninterruptible) != 0) return (state & kNoload) != 0 ? 'I' : 'D';
  if ((state & kInterruptible) != 0) return 'S';
  return state == 0 ? 'R' : '?';
}

class Reader {
 public:
  explicit Reader(const Kernel& kernel) : kernel_(kernel), cgroups_(&kernel) {}

  SchedulerView Read(const SchedulerParts& parts) {
    cpus_ = CpuCount();
    view_.jiffies = kernel_.Variable({"jiffies", "jiffies_64"}, 8);
    view_.tick_ns = TickNs();
    view_.scx = ReadScx(kernel_, cpus_);
    for (int cpu = 0; cpu < cpus_; ++cpu) ReadRunqueue(cpu);
    SetIdleTimes();
    if (parts.queues) ReadQueues();
    if (parts.tasks) ReadTasks();
    std::stable_sort(view_.tasks.begin(), view_.tasks.end(),
                     [](const TaskView& a, const TaskView& b) {
                       const uint64_t a_waits = a.waiting_ns.value_or(0);
                       const uint64_t b_waits = b.waiting_ns.value_or(0);
                       if (a_waits != b_waits) return a_waits > b_waits;
                       if (a.queued != b.queued) return a.queued;
                       return a.pid < b.pid;
                     });
    for (const std::string& field : kernel_.missing()) {
      view_.unavailable.push_back(absl::StrCat(field, ": this kernel has no such field"));
    }
    return std::move(view_);
  }

 private:
  int CpuCount() {
    // A constant of the kernel's build where there is one CPU at most.
    const auto count = kernel_.Variable({"nr_cpu_ids"}, 4);
    return static_cast<int>(std::clamp<uint64_t>(count.value_or(1), 1, kMostCpus));
  }

  // By the clock source that counts jiffies (kernel/time/jiffies.c): no variable says it itself.
  std::optional<uint64_t> TickNs() const {
    const auto at = kernel_.Address("clocksource_jiffies");
    if (!at.has_value()) return std::nullopt;
    const KernelStruct source(&kernel_, "clocksource", *at);
    if (!source.Has("mult") || !source.Has("shift")) return std::nullopt;
    const uint64_t tick = source.NumberOr("mult", 0) >> (source.NumberOr("shift", 0) & 31);
    return tick == 0 ? std::nullopt : std::optional<uint64_t>(tick);
  }

  // rq->idle_stamp, by the furthest clock: its own stands still while it idles.
  void SetIdleTimes() {
    uint64_t now = 0;
    for (const RunqueueView& rq : view_.runqueues) now = std::max(now, rq.clock_ns);
    for (RunqueueView& rq : view_.runqueues) {
      if (!rq.idle || rq.idle_ns.value_or(0) == 0 || *rq.idle_ns > now) {
        rq.idle_ns.reset();
      } else {
        rq.idle_ns = now - *rq.idle_ns;
      }
    }
  }

  void ReadQueues() {
    RunqueueReader reader(&kernel_, cpus_, &cgroups_, &view_.unavailable);
    for (RunqueueView& rq : view_.runqueues) {
      if (rq.address != 0) {
        rq.queues = reader.Read(rq.cpu, KernelStruct(&kernel_, "rq", rq.address));
      }
    }
    ReadDispatchQueues(kernel_, cpus_, &view_.scx, &view_.unavailable);
  }

  void ReadRunqueue(int cpu) {
    const auto address = kernel_.PerCpu("runqueues", cpu);
    RunqueueView view{.cpu = cpu};
    // A CPU that cannot be there shares what it has with another.
    const bool is_new = address.has_value() && runqueues_.insert(*address).second;
    if (!is_new) {
      if (!address.has_value() && cpu == 0) Unavailable("runqueues: not found");
      view_.runqueues.push_back(std::move(view));
      return;
    }
    view.address = *address;
    const KernelStruct rq(&kernel_, "rq", *address);
    view.online = rq.NumberOr("online", 0) != 0;
    view.clock_ns = rq.NumberOr("clock", 0);
    view.running = rq.NumberOr("nr_running", 0);
    // Renamed in 6.13 and 6.14.
    view.fair = rq.Number({"cfs.h_nr_queued", "cfs.h_nr_running"});
    view.rt = rq.Number("rt.rt_nr_running");
    view.deadline = rq.Number("dl.dl_nr_running");
    if (view_.scx.built_in) {
      view.ext = rq.Number("scx.nr_running");
      view.bypassing = IsBypassing(kernel_, cpu, rq);
    }
    view.switches = rq.NumberOr("nr_switches", 0);
    if (const auto lock = rq.Number(kRunqueueLock)) view.lock = static_cast<uint32_t>(*lock);
    if (const auto current = rq.Pointed("curr")) {
      view.current_pid = static_cast<int>(current->NumberOr("pid", 0));
      view.current_comm = current->Text("comm");
      if (rq.Has("idle")) view.idle = current->address() == rq.NumberOr("idle", 0);
    }
    if (rq.Has("idle_stamp")) view.idle_ns = rq.Number("idle_stamp");  // see SetIdleTimes
    if (const auto tick = kernel_.PerCpu("tick_cpu_sched", cpu)) {
      const KernelStruct tick_sched(&kernel_, "tick_sched", *tick);
      if (tick_sched.Has("tick_stopped")) {  // a bit of its own before 6.9
        view.tick_stopped = tick_sched.NumberOr("tick_stopped", 0) != 0;
      } else if (const auto flags = tick_sched.Number("flags")) {
        constexpr uint64_t kTickStopped = uint64_t{1} << 1;  // TS_FLAG_STOPPED
        view.tick_stopped = (*flags & kTickStopped) != 0;
      }
      if (tick_sched.Has("last_tick_jiffies") && view_.jiffies.has_value()) {
        const uint64_t last = tick_sched.NumberOr("last_tick_jiffies", 0);
        if (last != 0 && *view_.jiffies >= last) view.tick_behind_jiffies = *view_.jiffies - last;
      }
    }
    view_.runqueues.push_back(std::move(view));
  }

  // All threads: the processes along init_task.tasks, the threads of each along its signal's list.
  void ReadTasks() {
    const auto init = kernel_.symbols().Address("init_task");
    const auto tasks = kernel_.types().Find("task_struct", "tasks.next");
    const auto node = kernel_.types().Find("task_struct", "thread_node.next");
    const auto head = kernel_.types().Find("signal_struct", "thread_head.next");
    if (!init || !tasks || !node || !head) return Unavailable("tasks: the lists were not found");
    uint64_t link = *init + tasks->offset;
    do {
      const uint64_t leader = link - tasks->offset;
      if (!Take(leader)) return;
      const auto signal = KernelStruct(&kernel_, "task_struct", leader).Pointed("signal");
      if (signal.has_value()) {
        const uint64_t end = signal->address() + head->offset;
        auto thread = kernel_.memory().Load<uint64_t>(end);
        bool leader_seen = false;  // it is one of the list, and was taken above
        while (thread.has_value() && *thread != end && *thread != 0) {
          const uint64_t task = *thread - node->offset;
          if (task == leader && !leader_seen) {
            leader_seen = true;
          } else if (!Take(task)) {
            return;
          }
          thread = kernel_.memory().Load<uint64_t>(*thread);
        }
      }
      link = kernel_.memory().Load<uint64_t>(link).value_or(0);
    } while (link != 0 && link != *init + tasks->offset);
    if (link == 0) Unavailable("tasks: the list leads out of memory; there may be more");
  }

  // False: the list is at its end for us.
  bool Take(uint64_t address) {
    if (!seen_.insert(address).second) {
      Unavailable("tasks: the list leads in a circle; there may be more");
      return false;
    }
    if (view_.tasks.size() >= kMostViewedTasks) {
      Unavailable(absl::StrCat("tasks: cut after ", kMostViewedTasks));
      return false;
    }
    KernelStruct task(&kernel_, "task_struct", address);
    task.Fetch();
    view_.tasks.push_back(ReadTask(task));
    return true;
  }

  TaskView ReadTask(const KernelStruct& task) {
    TaskView view{.address = task.address()};
    view.pid = static_cast<int>(task.NumberOr("pid", 0));
    view.tgid = static_cast<int>(task.NumberOr("tgid", 0));
    view.comm = task.Text("comm");
    view.state = StateOf(task.NumberOr("__state", 0), task.NumberOr("exit_state", 0));
    view.cpu = static_cast<int>(task.NumberOr("thread_info.cpu", ~uint64_t{0}));
    view.on_cpu = task.NumberOr("on_cpu", 0) != 0;
    view.queued = task.NumberOr("on_rq", 0) != 0;
    // EEVDF keeps one that sleeps on its runqueue until its lag is used up (6.12).
    if (task.Has("se.sched_delayed") && task.NumberOr("se.sched_delayed", 0) != 0) {
      view.queued = false;
    }
    view.policy = PolicyName(task.NumberOr("policy", 0));
    view.nice = static_cast<int>(task.NumberOr("static_prio", kNice0Priority)) - kNice0Priority;
    view.rt_priority = static_cast<int>(task.NumberOr("rt_priority", 0));
    if (const auto at = task.Number("cpus_ptr")) {
      const auto mask = ReadCpuMask(kernel_.memory(), *at, cpus_);
      if (mask.has_value()) view.cpus_allowed = CpuList(*mask, cpus_);
    }
    const auto set = task.Pointed("cgroups");
    view.cgroup = cgroups_.Of(set ? set->NumberOr("dfl_cgrp", 0) : 0);
    view.vruntime_ns = task.Number("se.vruntime");
    view.run_ns = task.Number("se.sum_exec_runtime");
    if (task.Has("se.deadline")) view.deadline_ns = task.Number("se.deadline");
    if (task.Has("se.slice")) view.slice_ns = task.Number("se.slice");
    if (task.Has("se.vlag")) view.lag_ns = static_cast<int64_t>(task.NumberOr("se.vlag", 0));
    view.run_delay_ns = task.Number("sched_info.run_delay");
    if (view.queued && !view.on_cpu && view.pid != 0) {
      const uint64_t since = task.NumberOr("sched_info.last_queued", 0);
      const uint64_t clock = ClockOf(view.cpu);
      if (since != 0 && clock > since) view.waiting_ns = clock - since;
    }
    if (view_.scx.state == "enabled" && view.queued) ReadScxTask(task, &view);
    return view;
  }

  void ReadScxTask(const KernelStruct& task, TaskView* view) {
    const auto queued = kernel_.types().Enumerator("SCX_TASK_QUEUED");
    const auto flags = task.Number("scx.flags");
    if (!queued || !flags || (*flags & static_cast<uint64_t>(*queued)) == 0) return;
    if (const auto since = task.Number("scx.runnable_at")) {
      const auto now = view_.jiffies;
      if (now && *now >= *since && !view->on_cpu) view->queue_waiting_jiffies = *now - *since;
    }
    if (view->on_cpu) return;
    const auto dsq = task.Pointed("scx.dsq");
    // With the BPF scheduler, or lost by it.
    if (!dsq.has_value()) {
      view->queue = "none";
      return;
    }
    view->queue = DispatchQueueName(dsq->NumberOr("id", 0));
  }

  uint64_t ClockOf(int cpu) const {
    const auto index = static_cast<size_t>(cpu);
    return cpu >= 0 && index < view_.runqueues.size() ? view_.runqueues[index].clock_ns : 0;
  }

  void Unavailable(std::string what) { view_.unavailable.push_back(std::move(what)); }

  const Kernel& kernel_;
  int cpus_ = 1;
  CgroupPaths cgroups_;
  SchedulerView view_;
  std::unordered_set<uint64_t> seen_;
  std::unordered_set<uint64_t> runqueues_;  // their addresses
};

template <typename T>
void Put(nlohmann::json* object, const char* key, const std::optional<T>& value) {
  if (value.has_value()) (*object)[key] = *value;
}

}  // namespace

SchedulerView ReadScheduler(const Kernel& kernel, const SchedulerParts& parts) {
  return Reader(kernel).Read(parts);
}

nlohmann::json ToJson(const SchedulerView& view) {
  using nlohmann::json;
  json runqueues = json::array();
  for (const RunqueueView& rq : view.runqueues) {
    json object = {{"cpu", rq.cpu},
                   {"online", rq.online},
                   {"clock_ns", rq.clock_ns},
                   {"nr_running", rq.running},
                   {"nr_switches", rq.switches},
                   {"current", {{"pid", rq.current_pid}, {"comm", rq.current_comm}}}};
    Put(&object, "fair", rq.fair);
    Put(&object, "rt", rq.rt);
    Put(&object, "deadline", rq.deadline);
    Put(&object, "ext", rq.ext);
    object["idle"] = rq.idle;
    Put(&object, "idle_ns", rq.idle_ns);
    Put(&object, "tick_stopped", rq.tick_stopped);
    Put(&object, "tick_behind_jiffies", rq.tick_behind_jiffies);
    Put(&object, "bypassing", rq.bypassing);
    if (rq.lock.has_value()) {
      object["lock"] = {{"held", IsHeld(*rq.lock)}, {"contended", IsContended(*rq.lock)}};
    }
    PutQueues(rq.queues, &object);
    runqueues.push_back(std::move(object));
  }
  json tasks = json::array();
  for (const TaskView& task : view.tasks) {
    json object = {{"pid", task.pid},
                   {"tgid", task.tgid},
                   {"comm", task.comm},
                   {"state", std::string(1, task.state)},
                   {"cpu", task.cpu},
                   {"on_cpu", task.on_cpu},
                   {"queued", task.queued},
                   {"policy", task.policy},
                   {"nice", task.nice},
                   {"rt_priority", task.rt_priority},
                   {"cpus_allowed", task.cpus_allowed},
                   {"cgroup", task.cgroup}};
    Put(&object, "vruntime_ns", task.vruntime_ns);
    Put(&object, "deadline_ns", task.deadline_ns);
    Put(&object, "slice_ns", task.slice_ns);
    Put(&object, "lag_ns", task.lag_ns);
    Put(&object, "run_ns", task.run_ns);
    Put(&object, "run_delay_ns", task.run_delay_ns);
    Put(&object, "waiting_ns", task.waiting_ns);
    Put(&object, "queue", task.queue);
    Put(&object, "queue_waiting_jiffies", task.queue_waiting_jiffies);
    tasks.push_back(std::move(object));
  }
  json object = {{"format", "stasis.scheduler/1"},
                 {"runqueues", std::move(runqueues)},
                 {"tasks", std::move(tasks)},
                 {"sched_ext", ToJson(view.scx)},
                 {"unavailable", view.unavailable}};
  Put(&object, "jiffies", view.jiffies);
  Put(&object, "tick_ns", view.tick_ns);
  return object;
}

}  // namespace stasis
