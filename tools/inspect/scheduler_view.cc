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
constexpr int kMostCgroupDepth = 64;

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

// "0-3,6" of a bit mask.
std::string CpuList(const std::vector<uint64_t>& words, int cpus) {
  std::vector<std::string> ranges;
  auto is_set = [&](int cpu) {
    return cpu < cpus && static_cast<size_t>(cpu / 64) < words.size() &&
           (words[cpu / 64] >> (cpu % 64) & 1) != 0;
  };
  for (int cpu = 0; cpu < cpus; ++cpu) {
    if (!is_set(cpu)) continue;
    int last = cpu;
    while (is_set(last + 1)) ++last;
    ranges.push_back(last == cpu ? absl::StrCat(cpu) : absl::StrCat(cpu, "-", last));
    cpu = last;
  }
  return absl::StrJoin(ranges, ",");
}

class Reader {
 public:
  explicit Reader(const Kernel& kernel) : kernel_(kernel) {}

  SchedulerView Read() {
    cpus_ = CpuCount();
    ReadScxState();
    for (int cpu = 0; cpu < cpus_; ++cpu) ReadRunqueue(cpu);
    ReadTasks();
    std::stable_sort(view_.tasks.begin(), view_.tasks.end(), [](const TaskView& a, const TaskView& b) {
      const uint64_t a_waits = a.waiting_ns.value_or(0), b_waits = b.waiting_ns.value_or(0);
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
    const auto at = kernel_.symbols().Address("nr_cpu_ids");
    const auto count = at ? kernel_.memory().Load<uint32_t>(*at) : std::optional<uint32_t>();
    // A constant of the kernel's build where there is one CPU at most.
    return static_cast<int>(std::clamp<uint32_t>(count.value_or(1), 1, kMostCpus));
  }

  std::vector<uint64_t> Mask(uint64_t address) const {
    std::vector<uint64_t> words;
    for (int i = 0; i < (cpus_ + 63) / 64; ++i) {
      words.push_back(kernel_.memory().Load<uint64_t>(address + 8 * i).value_or(0));
    }
    return words;
  }

  std::optional<uint64_t> Variable(std::initializer_list<const char*> names, size_t size) const {
    for (const char* name : names) {
      const auto address = kernel_.symbols().Address(name);
      uint64_t value = 0;
      if (address && kernel_.memory().Read(*address, &value, size)) return value;
    }
    return std::nullopt;
  }

  // kernel/sched/ext.c. 6.12 has one scheduler in variables of its own; since 6.16 it is an object.
  void ReadScxState() {
    ScxView& scx = view_.scx;
    const auto state = Variable({"scx_enable_state_var", "scx_ops_enable_state_var"}, 4);
    scx.built_in = state.has_value();
    if (!scx.built_in) return;
    scx.state = StateName(*state);
    std::optional<KernelStruct> ops, exit;
    if (const auto root = Variable({"scx_root"}, 8); root.has_value()) {
      if (*root == 0) return;
      const KernelStruct scheduler(&kernel_, "scx_sched", *root);
      ops = scheduler.Member("ops");
      exit = scheduler.Pointed("exit_info");
    } else {
      if (const auto at = kernel_.symbols().Address("scx_ops")) {
        ops = KernelStruct(&kernel_, "sched_ext_ops", *at);
      }
      const auto info = Variable({"scx_exit_info"}, 8);
      if (info.value_or(0) != 0) exit = KernelStruct(&kernel_, "scx_exit_info", *info);
    }
    if (ops.has_value()) scx.ops = ops->Text("name");
    if (!exit.has_value()) return;
    scx.exit_kind = exit->Number("kind");
    scx.exit_reason = exit->Text("reason");
    scx.exit_message = exit->Text("msg");
  }

  std::string StateName(uint64_t state) const {
    // The order differs from kernel to kernel: by the enumeration's own names.
    for (const auto& [suffix, name] :
         {std::pair("ENABLING", "enabling"), std::pair("ENABLED", "enabled"),
          std::pair("DISABLING", "disabling"), std::pair("DISABLED", "disabled")}) {
      for (const char* prefix : {"SCX_OPS_", "SCX_"}) {
        if (kernel_.types().Enumerator(absl::StrCat(prefix, suffix)) ==
            static_cast<int64_t>(state)) {
          return name;
        }
      }
    }
    return absl::StrCat(state);
  }

  void ReadRunqueue(int cpu) {
    const auto address = kernel_.PerCpu("runqueues", cpu);
    if (!address.has_value()) return Unavailable("runqueues: not found");
    const KernelStruct rq(&kernel_, "rq", *address);
    RunqueueView view{.cpu = cpu};
    view.online = rq.NumberOr("online", 0) != 0;
    view.clock_ns = rq.NumberOr("clock", 0);
    view.running = rq.NumberOr("nr_running", 0);
    // Renamed in 6.13 and 6.14.
    view.fair = rq.Number({"cfs.h_nr_queued", "cfs.h_nr_running"});
    view.rt = rq.Number("rt.rt_nr_running");
    view.deadline = rq.Number("dl.dl_nr_running");
    if (view_.scx.built_in) {
      view.ext = rq.Number("scx.nr_running");
      const auto flags = rq.Number("scx.flags");
      const auto bit = kernel_.types().Enumerator("SCX_RQ_BYPASSING");
      if (flags && bit) view.bypassing = (*flags & static_cast<uint64_t>(*bit)) != 0;
    }
    view.switches = rq.NumberOr("nr_switches", 0);
    if (const auto current = rq.Pointed("curr")) {
      view.current_pid = static_cast<int>(current->NumberOr("pid", 0));
      view.current_comm = current->Text("comm");
    }
    if (const auto tick = kernel_.PerCpu("tick_cpu_sched", cpu)) {
      const KernelStruct tick_sched(&kernel_, "tick_sched", *tick);
      if (tick_sched.Has("tick_stopped")) {  // a bit of its own before 6.9
        view.tick_stopped = tick_sched.NumberOr("tick_stopped", 0) != 0;
      } else if (const auto flags = tick_sched.Number("flags")) {
        constexpr uint64_t kTickStopped = uint64_t{1} << 1;  // TS_FLAG_STOPPED
        view.tick_stopped = (*flags & kTickStopped) != 0;
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
        while (thread.has_value() && *thread != end && *thread != 0) {
          const uint64_t task = *thread - node->offset;
          if (task != leader && !Take(task)) return;
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
    view_.tasks.push_back(ReadTask(KernelStruct(&kernel_, "task_struct", address)));
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
    if (const auto mask = task.Number("cpus_ptr")) view.cpus_allowed = CpuList(Mask(*mask), cpus_);
    view.cgroup = CgroupOf(task);
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
      const auto now = Variable({"jiffies", "jiffies_64"}, 8);
      if (now && *now >= *since && !view->on_cpu) view->queue_waiting_jiffies = *now - *since;
    }
    if (view->on_cpu) return;
    const auto dsq = task.Pointed("scx.dsq");
    // With the BPF scheduler, or lost by it.
    if (!dsq.has_value()) {
      view->queue = "none";
      return;
    }
    constexpr uint64_t kBuiltIn = uint64_t{1} << 63;  // SCX_DSQ_FLAG_BUILTIN
    constexpr uint64_t kLocal = kBuiltIn | 2, kGlobal = kBuiltIn | 1, kLocalOn = kBuiltIn >> 1;
    const uint64_t id = dsq->NumberOr("id", 0);
    view->queue = id == kGlobal                              ? "global"
                  : id == kLocal || (id & kLocalOn) != 0 ? "local"
                                                             : absl::StrFormat("%#x", id);
  }

  uint64_t ClockOf(int cpu) const {
    for (const RunqueueView& runqueue : view_.runqueues) {
      if (runqueue.cpu == cpu) return runqueue.clock_ns;
    }
    return 0;
  }

  // As /proc/PID/cgroup has it for the default hierarchy.
  std::string CgroupOf(const KernelStruct& task) const {
    const auto set = task.Pointed("cgroups");
    const auto cgroup = set ? set->Pointed("dfl_cgrp") : std::nullopt;
    auto node = cgroup ? cgroup->Pointed("kn") : std::nullopt;
    std::vector<std::string> names;
    for (int depth = 0; node.has_value() && depth < kMostCgroupDepth; ++depth) {
      const auto parent = node->Pointed({"__parent", "parent"});
      if (!parent.has_value()) break;  // the root has no name of its own
      names.push_back(node->Text("name"));
      node = parent;
    }
    std::reverse(names.begin(), names.end());
    return absl::StrCat("/", absl::StrJoin(names, "/"));
  }

  void Unavailable(std::string what) { view_.unavailable.push_back(std::move(what)); }

  const Kernel& kernel_;
  int cpus_ = 1;
  SchedulerView view_;
  std::unordered_set<uint64_t> seen_;
};

template <typename T>
void Put(nlohmann::json* object, const char* key, const std::optional<T>& value) {
  if (value.has_value()) (*object)[key] = *value;
}

}  // namespace

SchedulerView ReadScheduler(const Kernel& kernel) { return Reader(kernel).Read(); }

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
    Put(&object, "tick_stopped", rq.tick_stopped);
    Put(&object, "bypassing", rq.bypassing);
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
  json scx = {{"built_in", view.scx.built_in}};
  if (view.scx.built_in) {
    scx["state"] = view.scx.state;
    scx["ops"] = view.scx.ops;
    Put(&scx, "exit_kind", view.scx.exit_kind);
    scx["exit_reason"] = view.scx.exit_reason;
    scx["exit_message"] = view.scx.exit_message;
  }
  return {{"format", "stasis.scheduler/1"},
          {"runqueues", std::move(runqueues)},
          {"tasks", std::move(tasks)},
          {"sched_ext", std::move(scx)},
          {"unavailable", view.unavailable}};
}

}  // namespace stasis
