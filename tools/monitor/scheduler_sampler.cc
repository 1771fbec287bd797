#include "tools/monitor/scheduler_sampler.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "tools/inspect/scheduler_view.h"

namespace stasis {
namespace {

constexpr uint64_t kPageBytes = 4096;
constexpr int kNice0Priority = 120;  // static_prio of nice 0
constexpr uint64_t kMostPid = 1 << 22;  // PID_MAX_LIMIT
constexpr uint64_t kMigrating = 2;      // TASK_ON_RQ_MIGRATING, the largest value of on_rq
constexpr int kMostCgroupDepth = 64;
constexpr int kSamplesPerForgetting = 10;
constexpr size_t kMostCgroupsKept = 4096;
constexpr uint64_t kTickStopped = uint64_t{1} << 1;  // TS_FLAG_STOPPED
constexpr absl::Duration kDefaultWatchdog = absl::Seconds(30);  // SCX_WATCHDOG_MAX_TIMEOUT

}  // namespace

const char* PolicyName(Policy policy) {
  switch (policy) {
    case Policy::kNormal:
      return "normal";
    case Policy::kFifo:
      return "fifo";
    case Policy::kRoundRobin:
      return "rr";
    case Policy::kBatch:
      return "batch";
    case Policy::kIdle:
      return "idle";
    case Policy::kDeadline:
      return "deadline";
    case Policy::kExt:
      return "ext";
  }
  return "?";
}

absl::StatusOr<std::unique_ptr<SchedulerSampler>> SchedulerSampler::Create(const Kernel* kernel) {
  std::unique_ptr<SchedulerSampler> sampler(new SchedulerSampler(kernel));
  if (absl::Status status = sampler->Prepare(); !status.ok()) return status;
  return sampler;
}

SchedulerSampler::Slot SchedulerSampler::Find(const char* type,
                                              std::initializer_list<const char*> paths) const {
  for (const char* path : paths) {
    const auto field = kernel_.types().Find(type, path);
    if (!field.has_value()) continue;
    return {true, field->offset, static_cast<uint32_t>(field->size), field->bit_offset,
            field->bit_size};
  }
  return {};
}

absl::Status SchedulerSampler::Prepare() {
  rq_ = {.online = Find("rq", {"online"}),
         .clock = Find("rq", {"clock"}),
         .nr_running = Find("rq", {"nr_running"}),
         .nr_switches = Find("rq", {"nr_switches"}),
         .curr = Find("rq", {"curr"}),
         .idle = Find("rq", {"idle"}),
         .rt_throttled = Find("rq", {"rt.rt_throttled"}),
         .scx_flags = Find("rq", {"scx.flags"}),
         .fair_weight = Find("rq", {"cfs.load.weight"}),
         .lock = Find("rq", {kRunqueueLock})};
  constexpr char kTask[] = "task_struct";
  task_ = {.on_rq = Find(kTask, {"on_rq"}),
           .on_cpu = Find(kTask, {"on_cpu"}),
           .pid = Find(kTask, {"pid"}),
           .tgid = Find(kTask, {"tgid"}),
           .start_time = Find(kTask, {"start_time"}),
           .policy = Find(kTask, {"policy"}),
           .static_prio = Find(kTask, {"static_prio"}),
           .rt_priority = Find(kTask, {"rt_priority"}),
           .cpu = Find(kTask, {"thread_info.cpu"}),
           .cpus_ptr = Find(kTask, {"cpus_ptr"}),
           .comm = Find(kTask, {"comm"}),
           .tasks_next = Find(kTask, {"tasks.next"}),
           .tasks_prev = Find(kTask, {"tasks.prev"}),
           .thread_node_next = Find(kTask, {"thread_node.next"}),
           .signal = Find(kTask, {"signal"}),
           .cgroups = Find(kTask, {"cgroups"}),
           .throttled = Find(kTask, {"throttled"}),  // per task since 6.18
           .dl_throttled = Find(kTask, {"dl.dl_throttled"}),
           .sched_delayed = Find(kTask, {"se.sched_delayed"}),
           .arrivals = Find(kTask, {"sched_info.pcount"}),
           .last_queued = Find(kTask, {"sched_info.last_queued"}),
           .run_ns = Find(kTask, {"se.sum_exec_runtime"}),
           .weight = Find(kTask, {"se.load.weight"}),
           .cfs_rq = Find(kTask, {"se.cfs_rq"}),
           .scx_flags = Find(kTask, {"scx.flags"}),
           .scx_dsq = Find(kTask, {"scx.dsq"})};
  other_ = {.signal_thread_head = Find("signal_struct", {"thread_head.next"}),
            .signal_nr_threads = Find("signal_struct", {"nr_threads"}),
            .se_weight = Find("sched_entity", {"load.weight"}),
            .se_parent = Find("sched_entity", {"parent"}),
            .se_cfs_rq = Find("sched_entity", {"cfs_rq"}),
            .cfs_weight = Find("cfs_rq", {"load.weight"}),
            .cfs_throttle_count = Find("cfs_rq", {"throttle_count"}),
            .dsq_id = Find("scx_dispatch_q", {"id"}),
            .tick_stopped = Find("tick_sched", {"tick_stopped"}),
            .tick_flags = Find("tick_sched", {"flags"}),
            .exit_kind = Find("scx_exit_info", {"kind"}),
            .timeout_ms = Find("sched_ext_ops", {"timeout_ms"})};
  const std::pair<const char*, const Slot*> needed[] = {
      {"rq.clock", &rq_.clock},           {"rq.nr_running", &rq_.nr_running},
      {"rq.nr_switches", &rq_.nr_switches}, {"rq.curr", &rq_.curr},
      {"task_struct.on_rq", &task_.on_rq}, {"task_struct.on_cpu", &task_.on_cpu},
      {"task_struct.pid", &task_.pid},     {"task_struct.thread_info.cpu", &task_.cpu},
      {"task_struct.comm", &task_.comm},   {"task_struct.tasks.next", &task_.tasks_next},
      {"task_struct.thread_node.next", &task_.thread_node_next},
      {"task_struct.signal", &task_.signal},
      {"task_struct.se.sum_exec_runtime", &task_.run_ns},
      {"signal_struct.thread_head.next", &other_.signal_thread_head}};
  for (const auto& [name, slot] : needed) {
    if (!slot->present || slot->size > (slot == &task_.comm ? 64 : 8)) {
      return absl::FailedPreconditionError(absl::StrCat("this kernel has no ", name));
    }
  }
  const auto init = kernel_.symbols().Address("init_task");
  if (!init) return absl::FailedPreconditionError("this kernel has no symbol init_task");
  init_task_ = *init;
  const auto count_at = kernel_.symbols().Address("nr_cpu_ids");
  const auto count = count_at ? kernel_.memory().Load<uint32_t>(*count_at) : std::nullopt;
  cpus_ = static_cast<int>(std::clamp<uint32_t>(count.value_or(1), 1, kMostCpus));
  for (int cpu = 0; cpu < cpus_; ++cpu) {
    const auto rq = kernel_.PerCpu("runqueues", cpu);
    if (!rq) return absl::FailedPreconditionError("this kernel has no symbol runqueues");
    runqueues_.push_back(*rq);
    ticks_.push_back(kernel_.PerCpu("tick_cpu_sched", cpu).value_or(0));
  }

  active_mask_ = kernel_.symbols().Address("__cpu_active_mask");

  // kernel/sched/ext.c: 6.12 has one scheduler in variables of its own, later it is an object.
  for (const char* name : {"scx_enable_state_var", "scx_ops_enable_state_var"}) {
    if (!scx_state_at_) scx_state_at_ = kernel_.symbols().Address(name);
  }
  if (!scx_state_at_) return absl::OkStatus();
  for (const auto& [suffix, name] :
       {std::pair("ENABLING", "enabling"), std::pair("ENABLED", "enabled"),
        std::pair("DISABLING", "disabling"), std::pair("DISABLED", "disabled")}) {
    for (const char* prefix : {"SCX_OPS_", "SCX_"}) {
      const auto value = kernel_.types().Enumerator(absl::StrCat(prefix, suffix));
      if (value) scx_states_.emplace(static_cast<uint64_t>(*value), name);
      if (value) break;
    }
  }
  bypass_bit_ = static_cast<uint64_t>(kernel_.types().Enumerator("SCX_RQ_BYPASSING").value_or(0));
  scx_queued_bit_ =
      static_cast<uint64_t>(kernel_.types().Enumerator("SCX_TASK_QUEUED").value_or(0));
  scx_error_ = static_cast<uint64_t>(kernel_.types().Enumerator("SCX_EXIT_ERROR").value_or(1024));
  scx_root_at_ = kernel_.symbols().Address("scx_root");
  scx_ops_at_ = kernel_.symbols().Address("scx_ops");
  scx_exit_info_at_ = kernel_.symbols().Address("scx_exit_info");
  return absl::OkStatus();
}

bool SchedulerSampler::Read(uint64_t address, void* to, size_t length) {
  auto* target = static_cast<char*>(to);
  while (length > 0) {
    const uint64_t page = address / kPageBytes;
    Translation& entry = translations_[page % kTranslations];
    if (entry.page != page) {
      const auto physical = kernel_.memory().Translate(page * kPageBytes);
      if (!physical.has_value()) return false;
      entry = {page, *physical};
    }
    const size_t within = address % kPageBytes;
    const size_t count = std::min<size_t>(length, kPageBytes - within);
    if (!kernel_.memory().image().ReadPhysical(entry.physical + within, target, count)) {
      return false;
    }
    address += count;
    target += count;
    length -= count;
  }
  return true;
}

std::optional<uint64_t> SchedulerSampler::Load(uint64_t structure, const Slot& slot) {
  if (!slot.present || slot.size == 0 || slot.size > sizeof(uint64_t)) return std::nullopt;
  uint64_t value = 0;
  if (!Read(structure + slot.offset, &value, slot.size)) return std::nullopt;
  if (slot.bit_size > 0) {
    value = value >> slot.bit_offset & ((uint64_t{1} << slot.bit_size) - 1);
  }
  return value;
}

std::string SchedulerSampler::Comm(uint64_t task) {
  char bytes[65] = {};
  Read(task + task_.comm.offset, bytes, task_.comm.size);
  std::string text(bytes, strnlen(bytes, task_.comm.size));
  for (char& c : text) {
    if (!absl::ascii_isprint(static_cast<unsigned char>(c))) c = '?';
  }
  return text;
}

Sample SchedulerSampler::Read() {
  std::fill(translations_.begin(), translations_.end(), Translation());
  if (--samples_until_forgotten_ <= 0 || cgroups_.size() > kMostCgroupsKept) {
    cgroups_.clear();
    samples_until_forgotten_ = kSamplesPerForgetting;
  }
  Sample sample;
  ReadScx(&sample.scx);
  scx_enabled_ = sample.scx.enabled;
  sample.cpus.resize(cpus_);
  const CpuSet active = active_mask_ ? MaskAt(*active_mask_) : CpuSet();
  for (int cpu = 0; cpu < cpus_; ++cpu) {
    ReadCpu(cpu, &sample.cpus[cpu]);
    sample.cpus[cpu].active = active.empty() || active.Contains(static_cast<uint32_t>(cpu));
  }
  bool whole = false;
  for (int i = 0; i < kTries && !whole; ++i) {
    sample.tasks.clear();
    sample.all_tasks = 0;
    waiting_by_cpu_.clear();
    whole = ReadTasks(&sample);
  }
  if (!whole) {
    sample.tasks.clear();
    waiting_by_cpu_.clear();
    sample.tasks_torn = true;
  }
  for (const auto& [cpu, count] : waiting_by_cpu_) sample.cpus[cpu].waiting = count;
  return sample;
}

void SchedulerSampler::ReadCpu(int cpu, CpuSample* out) {
  const uint64_t rq = runqueues_[cpu];
  for (int i = 0; i < kTries; ++i) {
    *out = CpuSample{.cpu = cpu};
    const auto switches = Load(rq, rq_.nr_switches), current = Load(rq, rq_.curr);
    const auto clock = Load(rq, rq_.clock), running = Load(rq, rq_.nr_running);
    if (!switches || !current || !clock || !running || *current == 0) break;
    out->online = LoadOr(rq, rq_.online, 1) != 0;
    out->clock_ns = *clock;
    out->running = *running;
    out->switches = *switches;
    const auto pid = Load(*current, task_.pid);
    if (!pid) continue;  // a pointer that is no longer one
    out->pid = static_cast<int>(*pid);
    // Only idle tasks have pid 0.
    out->idle = *pid == 0 || current == Load(rq, rq_.idle);
    out->comm = Comm(*current);
    out->policy = static_cast<Policy>(LoadOr(*current, task_.policy, 0));
    out->rt_priority = static_cast<int>(LoadOr(*current, task_.rt_priority, 0));
    out->rt_throttled = LoadOr(rq, rq_.rt_throttled, 0) != 0;
    out->fair_weight = Load(rq, rq_.fair_weight);
    if (const auto lock = Load(rq, rq_.lock)) out->locked = IsHeld(static_cast<uint32_t>(*lock));
    out->bypassing = bypass_bit_ != 0 && (LoadOr(rq, rq_.scx_flags, 0) & bypass_bit_) != 0;
    if (other_.tick_stopped.present) {  // a bit of its own before 6.9
      if (const auto stopped = Load(ticks_[cpu], other_.tick_stopped)) out->tick_stopped = *stopped != 0;
    } else if (const auto flags = Load(ticks_[cpu], other_.tick_flags)) {
      out->tick_stopped = (*flags & kTickStopped) != 0;
    }
    // The name is that of the task that was current, and the counters are of one moment.
    if (Load(rq, rq_.nr_switches) == switches && Load(rq, rq_.curr) == current) return;
  }
  out->torn = true;
}

// All threads: the processes along init_task.tasks, the threads of each along its signal's list.
// They are lists of RCU, and we hold no lock: one that was taken out still leads on, for a while.
bool SchedulerSampler::ReadTasks(Sample* sample) {
  const uint64_t head = init_task_ + task_.tasks_next.offset;
  uint64_t link = LoadOr(init_task_, task_.tasks_next, 0);
  size_t steps = 0;
  while (link != head) {
    if (link == 0 || ++steps > kMostTasks) return false;
    const uint64_t leader = link - task_.tasks_next.offset;
    if (!Visit(leader, sample)) return false;
    const auto signal = Load(leader, task_.signal);
    if (!signal) return false;
    if (*signal != 0 && LoadOr(*signal, other_.signal_nr_threads, 2) > 1) {
      const uint64_t end = *signal + other_.signal_thread_head.offset;
      uint64_t thread = LoadOr(*signal, other_.signal_thread_head, 0);
      while (thread != end) {
        // A process whose last thread has just gone has a list that leads nowhere.
        if (thread == 0 || ++steps > kMostTasks) return false;
        const uint64_t task = thread - task_.thread_node_next.offset;
        if (task != leader && !Visit(task, sample)) return false;
        thread = LoadOr(task, task_.thread_node_next, 0);
      }
    }
    const uint64_t next = LoadOr(leader, task_.tasks_next, 0);
    // Who is not where the next one says has been taken out, or is being put in.
    if (task_.tasks_prev.present) {
      const uint64_t next_task = next - task_.tasks_next.offset;
      if (LoadOr(next_task, task_.tasks_prev, 0) != link &&
          LoadOr(next_task, task_.tasks_prev, 0) != link) {
        return false;
      }
    }
    link = next;
  }
  return true;
}

bool SchedulerSampler::Visit(uint64_t task, Sample* sample) {
  const auto pid = Load(task, task_.pid), on_rq = Load(task, task_.on_rq);
  if (!pid || !on_rq || *pid > kMostPid || *on_rq > kMigrating) return false;
  ++sample->all_tasks;
  if (*pid == 0 || *on_rq == 0 || LoadOr(task, task_.on_cpu, 1) != 0) return true;
  ReadWaiting(task, sample);
  return true;
}

void SchedulerSampler::ReadWaiting(uint64_t task, Sample* sample) {
  // EEVDF keeps one that sleeps on its runqueue until its lag is used up (6.12).
  if (LoadOr(task, task_.sched_delayed, 0) != 0) return;
  TaskSample out{.address = task};
  out.pid = static_cast<int>(LoadOr(task, task_.pid, 0));
  out.start_ns = LoadOr(task, task_.start_time, 0);
  out.arrivals = LoadOr(task, task_.arrivals, 0);
  out.run_ns = LoadOr(task, task_.run_ns, 0);
  const uint64_t cpu = LoadOr(task, task_.cpu, ~uint64_t{0});
  if (cpu >= static_cast<uint64_t>(cpus_)) {
    ++sample->raced;
    return;
  }
  out.cpu = static_cast<int>(cpu);
  out.tgid = static_cast<int>(LoadOr(task, task_.tgid, 0));
  out.policy = static_cast<Policy>(LoadOr(task, task_.policy, 0));
  out.nice = static_cast<int>(LoadOr(task, task_.static_prio, kNice0Priority)) - kNice0Priority;
  out.rt_priority = static_cast<int>(LoadOr(task, task_.rt_priority, 0));
  out.throttled = IsThrottled(task);
  const bool many = sample->tasks.size() >= kMostWaiting;
  if (!many) {
    out.comm = Comm(task);
    if (const auto mask = Load(task, task_.cpus_ptr)) out.allowed = MaskAt(*mask);
    if (scx_enabled_) out.queue = QueueOf(task);
    if (!out.queue.has_value() && !IsRealTime(out.policy)) out.share = ShareOf(task);
    out.cgroup = CgroupOf(task);
    const uint64_t queued = LoadOr(task, task_.last_queued, 0);
    const uint64_t clock = sample->cpus[out.cpu].clock_ns;
    if (queued != 0 && clock >= queued) out.queued_ns = clock - queued;
  }
  // What ran or moved meanwhile does not wait.
  if (LoadOr(task, task_.arrivals, 0) != out.arrivals || LoadOr(task, task_.run_ns, 0) != out.run_ns ||
      LoadOr(task, task_.on_cpu, 1) != 0 || LoadOr(task, task_.on_rq, 0) == 0 ||
      LoadOr(task, task_.cpu, 0) != cpu) {
    ++sample->raced;
    return;
  }
  if (!out.throttled) ++waiting_by_cpu_[cpu];
  if (!many) sample->tasks.push_back(std::move(out));
}

bool SchedulerSampler::IsThrottled(uint64_t task) {
  if (LoadOr(task, task_.throttled, 0) != 0 || LoadOr(task, task_.dl_throttled, 0) != 0) return true;
  const auto cfs_rq = Load(task, task_.cfs_rq);
  return cfs_rq && *cfs_rq != 0 && LoadOr(*cfs_rq, other_.cfs_throttle_count, 0) != 0;
}

// What the weights along its cgroups leave it of its CPU.
std::optional<double> SchedulerSampler::ShareOf(uint64_t task) {
  if (!task_.weight.present || !task_.cfs_rq.present) return std::nullopt;
  auto weight = Load(task, task_.weight);
  auto cfs_rq = Load(task, task_.cfs_rq);
  // Of the entity: its parent stands beside its weight.
  uint64_t entity = task + task_.weight.offset - other_.se_weight.offset;
  double share = 1;
  for (int depth = 0; depth < kMostCgroupDepth; ++depth) {
    if (!weight || !cfs_rq || *cfs_rq == 0) return std::nullopt;
    const uint64_t all = LoadOr(*cfs_rq, other_.cfs_weight, 0);
    if (all == 0 || *weight == 0) return std::nullopt;
    share *= std::min(1.0, static_cast<double>(*weight) / static_cast<double>(all));
    const auto parent = Load(entity, other_.se_parent);
    if (!parent || *parent == 0) return share;
    entity = *parent;
    weight = Load(entity, other_.se_weight);
    cfs_rq = Load(entity, other_.se_cfs_rq);
  }
  return std::nullopt;
}

CpuSet SchedulerSampler::MaskAt(uint64_t address) {
  CpuSet set;
  for (int word = 0; word * 64 < cpus_; ++word) {
    uint64_t bits = 0;
    if (!Read(address + 8 * word, &bits, sizeof(bits))) break;
    for (int bit = 0; bit < 64 && word * 64 + bit < cpus_; ++bit) {
      if ((bits >> bit & 1) != 0) set.Add(static_cast<uint32_t>(word * 64 + bit));
    }
  }
  return set;
}

// As /proc/PID/cgroup has it for the default hierarchy.
std::string SchedulerSampler::CgroupOf(uint64_t task) {
  const auto set = Load(task, task_.cgroups);
  if (!set || *set == 0) return "";
  const auto [entry, is_new] = cgroups_.try_emplace(*set);
  if (!is_new) return entry->second;
  const auto cgroup = KernelStruct(&kernel_, "css_set", *set).Pointed("dfl_cgrp");
  auto node = cgroup ? cgroup->Pointed("kn") : std::nullopt;
  std::vector<std::string> names;
  for (int depth = 0; node.has_value() && depth < kMostCgroupDepth; ++depth) {
    const auto parent = node->Pointed({"__parent", "parent"});
    if (!parent.has_value()) break;  // the root has no name of its own
    names.push_back(node->Text("name"));
    node = parent;
  }
  std::reverse(names.begin(), names.end());
  return entry->second = absl::StrCat("/", absl::StrJoin(names, "/"));
}

std::optional<std::string> SchedulerSampler::QueueOf(uint64_t task) {
  if ((LoadOr(task, task_.scx_flags, 0) & scx_queued_bit_) == 0) return std::nullopt;
  const auto dsq = Load(task, task_.scx_dsq);
  if (!dsq) return std::nullopt;
  if (*dsq == 0) return "none";  // with the BPF scheduler, or lost by it
  constexpr uint64_t kBuiltIn = uint64_t{1} << 63;  // SCX_DSQ_FLAG_BUILTIN
  constexpr uint64_t kLocal = kBuiltIn | 2, kGlobal = kBuiltIn | 1, kLocalOn = kBuiltIn >> 1;
  const uint64_t id = LoadOr(*dsq, other_.dsq_id, 0);
  if (id == kGlobal) return "global";
  if (id == kLocal || (id & kLocalOn) != 0) return "local";
  return absl::StrFormat("%#x", id);
}

void SchedulerSampler::ReadScx(ScxSample* scx) {
  if (!scx_state_at_) return;
  scx->built_in = true;
  uint32_t state = 0;
  Read(*scx_state_at_, &state, sizeof(state));
  const auto name = scx_states_.find(state);
  scx->state = name == scx_states_.end() ? absl::StrCat(state) : name->second;
  scx->enabled = scx->state == "enabled";
  uint64_t ops = 0, exit = 0, object = 0;
  if (scx_root_at_) {
    Read(*scx_root_at_, &object, sizeof(object));
    if (object != 0) {
      const KernelStruct scheduler(&kernel_, "scx_sched", object);
      ops = scheduler.AddressOf("ops").value_or(0);
      exit = scheduler.Number("exit_info").value_or(0);
    }
  } else {
    ops = scx_ops_at_.value_or(0);
    if (scx_exit_info_at_) Read(*scx_exit_info_at_, &exit, sizeof(exit));
    object = exit;  // made anew for each scheduler
  }
  // Texts are read when something has changed; until then they stay the same.
  if (ops != 0 && scx->state != "disabled") {
    if (last_scx_object_ == object && last_scx_.state == scx->state) {
      scx->ops = last_scx_.ops;
      scx->watchdog = last_scx_.watchdog;
    } else {
      scx->ops = KernelStruct(&kernel_, "sched_ext_ops", ops).Text("name");
      const uint64_t timeout = LoadOr(ops, other_.timeout_ms, 0);
      scx->watchdog = timeout == 0 ? kDefaultWatchdog : absl::Milliseconds(timeout);
    }
  }
  if (exit != 0) {
    scx->exit_kind = LoadOr(exit, other_.exit_kind, 0) & 0xffffffff;
    scx->exit_is_error = scx->exit_kind >= scx_error_;
    if (scx->exit_kind == last_scx_.exit_kind && object == last_scx_object_) {
      scx->exit_reason = last_scx_.exit_reason;
      scx->exit_message = last_scx_.exit_message;
    } else if (scx->exit_kind > 1) {  // neither SCX_EXIT_NONE nor _DONE
      const KernelStruct info(&kernel_, "scx_exit_info", exit);
      scx->exit_reason = info.Text("reason");
      scx->exit_message = info.Text("msg");
    }
  }
  last_scx_ = *scx;
  last_scx_object_ = object;
}

}  // namespace stasis
