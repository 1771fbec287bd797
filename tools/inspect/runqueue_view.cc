#include "tools/inspect/runqueue_view.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "tools/inspect/kernel_lists.h"

namespace stasis {
namespace {

constexpr int kDeepestGroup = 32;
constexpr int kMostDomains = 16;
constexpr int kRealTimePriorities = 100;  // MAX_RT_PRIO
constexpr size_t kMostSaid = 64;
constexpr size_t kMostGroups = 4096;
constexpr size_t kMostThrottledChecks = 1 << 16;
constexpr uint64_t kNoQuota = ~uint64_t{0};  // RUNTIME_INF
constexpr int kLoadShift = 10;               // SCHED_FIXEDPOINT_SHIFT

struct Weighted {
  uint64_t vruntime, weight;
};

// kernel/sched/fair.c, avg_vruntime(): the mean of what is queued, by weight, rounded down.
uint64_t MeanVruntime(const std::vector<Weighted>& entities) {
  __int128 sum = 0, weights = 0;
  const uint64_t base = entities.empty() ? 0 : entities[0].vruntime;
  for (const Weighted& entity : entities) {
    const uint64_t weight = std::max<uint64_t>(entity.weight >> kLoadShift, 2);
    sum += static_cast<__int128>(static_cast<int64_t>(entity.vruntime - base)) * weight;
    weights += weight;
  }
  if (weights == 0) return base;
  __int128 mean = sum / weights;
  if (sum < 0 && mean * weights != sum) --mean;
  return base + static_cast<uint64_t>(mean);
}

}  // namespace

std::string CpuList(const std::vector<uint64_t>& words, int cpus) {
  std::string text;
  auto is_set = [&](int cpu) {
    return cpu < cpus && static_cast<size_t>(cpu / 64) < words.size() &&
           (words[cpu / 64] >> (cpu % 64) & 1) != 0;
  };
  for (int cpu = 0; cpu < cpus; ++cpu) {
    if (!is_set(cpu)) continue;
    int last = cpu;
    while (is_set(last + 1)) ++last;
    absl::StrAppend(&text, text.empty() ? "" : ",", cpu);
    if (last != cpu) absl::StrAppend(&text, "-", last);
    cpu = last;
  }
  return text;
}

std::optional<std::vector<uint64_t>> ReadCpuMask(const KernelMemory& memory, uint64_t address,
                                                 int cpus) {
  std::vector<uint64_t> words((cpus + 63) / 64);
  if (!memory.Read(address, words.data(), words.size() * sizeof(uint64_t))) return std::nullopt;
  return words;
}

RunqueueReader::RunqueueReader(const Kernel* kernel, int cpus, CgroupPaths* cgroups,
                               std::vector<std::string>* unavailable)
    : kernel_(*kernel), cpus_(cpus), cgroups_(*cgroups), unavailable_(*unavailable) {}

RunqueueQueues RunqueueReader::Read(int cpu, const KernelStruct& rq) {
  RunqueueQueues queues;
  ReadFair(cpu, rq, &queues.fair);
  const auto array = rq.Has("rt.active") ? rq.AddressOf("rt.active") : std::nullopt;
  if (array.has_value()) {
    ReadRealTime(rq, rq.NumberOr("curr", 0), *array, 0, &queues.real_time);
  } else {
    Say("real-time queues: this kernel has no rq.rt.active");
  }
  ReadDeadline(rq, &queues.deadline);
  ReadDomains(rq, &queues.domains);
  return queues;
}

void RunqueueReader::ReadFair(int cpu, const KernelStruct& rq, std::vector<FairEntity>* entities) {
  if (!rq.Has("cfs.tasks_timeline.rb_root")) {
    return Say("fair queues: this kernel has no cfs_rq.tasks_timeline");
  }
  queues_.clear();
  ReadFairQueue(*rq.Member("cfs"), 0, false, entities);
  ReadThrottled(cpu, entities);
}

// The current one first, then the tree; each group is followed by what is in it.
void RunqueueReader::ReadFairQueue(const KernelStruct& queue, int depth, bool throttled,
                                   std::vector<FairEntity>* entities) {
  if (depth > kDeepestGroup || !queues_.insert(queue.address()).second) {
    return Say("fair queues: groups lead in a circle; there may be more");
  }
  const auto node = kernel_.types().Named("sched_entity").Find("run_node");
  const auto in_task = kernel_.types().Named("task_struct").Find("se");
  const auto root = queue.AddressOf("tasks_timeline.rb_root");
  if (node == nullptr || in_task == nullptr || !root) {
    return Say("fair queues: this kernel has no sched_entity.run_node");
  }
  std::vector<KernelStruct> members;
  const auto current = queue.Pointed("curr");
  const bool has_current = current.has_value() && current->NumberOr("on_rq", 0) != 0;
  if (has_current) members.push_back(*current);
  for (const uint64_t at : Take("fair queues: a tree", WalkTree(kernel_, *root, budget_))) {
    members.emplace_back(&kernel_, "sched_entity", at - node->offset);
  }
  std::vector<Weighted> weights;
  for (KernelStruct& entity : members) {
    entity.Fetch();
    weights.push_back({entity.NumberOr("vruntime", 0), entity.NumberOr("load.weight", 0)});
  }
  const uint64_t mean = MeanVruntime(weights);
  for (size_t i = 0; i < members.size(); ++i) {
    const KernelStruct& entity = members[i];
    FairEntity view{.depth = depth};
    view.current = has_current && i == 0;
    view.throttled = throttled;
    view.weight = weights[i].weight;
    view.vruntime_ns = weights[i].vruntime;
    if (entity.Has("deadline")) {
      view.deadline_ns = entity.Number("deadline");
      view.lag_ns = static_cast<int64_t>(mean - view.vruntime_ns);
    }
    if (entity.Has("sched_delayed")) view.delayed = entity.NumberOr("sched_delayed", 0) != 0;
    const auto group = entity.Has("my_q") ? entity.Pointed("my_q") : std::nullopt;
    if (!group.has_value()) {
      NameTask(entity.address() - in_task->offset, &view.pid, &view.comm);
      entities->push_back(std::move(view));
      continue;
    }
    view.group = GroupName(*group);
    view.queued = group->Number({"h_nr_queued", "h_nr_running"}).value_or(0);
    // What is still in the tree of a throttled group is runnable: it is on its way out of the kernel.
    if (group->Has("throttled")) view.throttled |= group->NumberOr("throttled", 0) != 0;
    entities->push_back(std::move(view));
    ReadFairQueue(*group, depth + 1, throttled, entities);
  }
  // Since tasks are throttled one by one on their way to user space (7.0), they wait beside the tree.
  const auto limbo = queue.Has("throttled_limbo_list") ? queue.AddressOf("throttled_limbo_list")
                                                       : std::nullopt;
  const auto link = kernel_.types().Named("task_struct").Find("throttle_node");
  if (!limbo || link == nullptr) return;
  for (const uint64_t at : Take("fair queues: a list of throttled tasks",
                                WalkList(kernel_, *limbo, budget_))) {
    const KernelStruct task(&kernel_, "task_struct", at - link->offset);
    FairEntity view{.depth = depth, .throttled = true};
    view.weight = task.NumberOr("se.load.weight", 0);
    view.vruntime_ns = task.NumberOr("se.vruntime", 0);
    NameTask(task.address(), &view.pid, &view.comm);
    entities->push_back(std::move(view));
  }
}

std::vector<uint64_t> RunqueueReader::Groups() {
  std::vector<uint64_t> groups;
  const auto head = kernel_.Address("task_groups");
  const KernelTypes::Structure& type = kernel_.types().Named("task_group");
  const auto list = type.Find("list");
  if (!head || list == nullptr || type.Find("cfs_rq") == nullptr) return groups;
  const Walk walk = WalkList(kernel_, *head, kMostGroups);
  if (!walk.cut.empty()) Say(absl::StrCat("groups: the list ", walk.cut, "; there may be more"));
  bool any_quota = false;
  for (const uint64_t at : walk.nodes) {
    const KernelStruct group(&kernel_, "task_group", at - list->offset);
    any_quota |= group.Has("cfs_bandwidth.quota") &&
                 group.NumberOr("cfs_bandwidth.quota", kNoQuota) != kNoQuota;
    groups.push_back(group.address());
  }
  // Without a limit anywhere nothing is throttled.
  if (!any_quota) groups.clear();
  return groups;
}

// A throttled group is in no tree, so it is looked for among all groups.
void RunqueueReader::ReadThrottled(int cpu, std::vector<FairEntity>* entities) {
  if (!groups_.has_value()) groups_ = Groups();
  const auto queue_field = kernel_.types().Named("task_group").Find("cfs_rq");
  if (groups_->size() * cpus_ > kMostThrottledChecks) {
    return Say("throttled groups: too many groups and CPUs to look at all");
  }
  for (const uint64_t address : *groups_) {
    const auto pointer = kernel_.memory().Load<uint64_t>(address + queue_field->offset);
    if (!pointer.has_value() || *pointer == 0) continue;
    // A pointer for each CPU, or since 7.0 a per-CPU structure.
    const auto at = queue_field->type == "cfs_rq"
                        ? kernel_.PerCpuAt(*pointer, cpu)
                        : kernel_.memory().Load<uint64_t>(*pointer + sizeof(uint64_t) * cpu);
    if (!at.has_value() || queues_.count(*at) != 0) continue;
    const KernelStruct queue(&kernel_, "cfs_rq", *at);
    if (!queue.Has("throttle_count") || queue.NumberOr("throttle_count", 0) == 0) continue;
    const size_t before = entities->size();
    FairEntity view{.group = GroupName(queue), .throttled = true};
    view.queued = queue.Number({"h_nr_queued", "h_nr_running"}).value_or(0);
    entities->push_back(std::move(view));
    ReadFairQueue(queue, 1, true, entities);
    // Throttled beforehand: nobody in it waits.
    if (entities->size() == before + 1 && entities->back().queued == 0) entities->pop_back();
  }
}

std::string RunqueueReader::GroupName(const KernelStruct& queue) {
  const auto group = queue.Pointed("tg");
  if (!group.has_value()) return "?";
  const auto cgroup = group->Number("css.cgroup");
  if (cgroup.value_or(0) != 0) return cgroups_.Of(*cgroup);
  const auto autogroup = group->Has("autogroup") ? group->Pointed("autogroup") : std::nullopt;
  return autogroup ? absl::StrCat("autogroup ", autogroup->NumberOr("id", 0)) : "?";
}

void RunqueueReader::ReadRealTime(const KernelStruct& rq, uint64_t current, uint64_t array,
                                  int depth, std::vector<RealTimeEntity>* entities) {
  const KernelStruct active(&kernel_, "rt_prio_array", array);
  const auto bitmap = active.AddressOf("bitmap"), queue = active.AddressOf("queue");
  const uint64_t head_size = kernel_.types().SizeOf("list_head").value_or(0);
  const KernelTypes::Structure& task = kernel_.types().Named("task_struct");
  const auto entity_in_task = task.Find("rt");
  const auto link = kernel_.types().Named("sched_rt_entity").Find("run_list");
  if (!bitmap || !queue || head_size == 0 || entity_in_task == nullptr || link == nullptr) {
    return Say("real-time queues: of a form that is not known here");
  }
  const auto bits = ReadCpuMask(kernel_.memory(), *bitmap, kRealTimePriorities);
  if (!bits.has_value()) return Say("real-time queues: out of memory");
  for (int index = 0; index < kRealTimePriorities; ++index) {
    if (((*bits)[index / 64] >> (index % 64) & 1) == 0) continue;
    for (const uint64_t at : Take("real-time queues: a list",
                                  WalkList(kernel_, *queue + head_size * index, budget_))) {
      const KernelStruct entity(&kernel_, "sched_rt_entity", at - link->offset);
      if (entity.Has("my_q") && entity.NumberOr("my_q", 0) != 0) {  // CONFIG_RT_GROUP_SCHED
        const auto inner = KernelStruct(&kernel_, "rt_rq", entity.NumberOr("my_q", 0));
        const auto inner_array = inner.AddressOf("active");
        if (depth < kDeepestGroup && inner_array) {
          ReadRealTime(rq, current, *inner_array, depth + 1, entities);
        }
        continue;
      }
      const uint64_t address = entity.address() - entity_in_task->offset;
      RealTimeEntity view{.priority = kRealTimePriorities - 1 - index,
                          .current = address == current};
      NameTask(address, &view.pid, &view.comm);
      entities->push_back(std::move(view));
    }
  }
}

void RunqueueReader::ReadDeadline(const KernelStruct& rq, std::vector<DeadlineEntity>* entities) {
  const auto root = rq.Has("dl.root.rb_root") ? rq.AddressOf("dl.root.rb_root") : std::nullopt;
  const auto node = kernel_.types().Named("sched_dl_entity").Find("rb_node");
  const auto in_task = kernel_.types().Named("task_struct").Find("dl");
  if (!root || node == nullptr || in_task == nullptr) {
    return Say("deadline queues: this kernel has no rq.dl.root");
  }
  for (const uint64_t at : Take("deadline queues: a tree", WalkTree(kernel_, *root, budget_))) {
    KernelStruct entity(&kernel_, "sched_dl_entity", at - node->offset);
    entity.Fetch();
    DeadlineEntity view;
    view.deadline_ns = entity.NumberOr("deadline", 0);
    view.runtime_ns = static_cast<int64_t>(entity.NumberOr("runtime", 0));
    view.throttled = entity.NumberOr("dl_throttled", 0) != 0;
    view.server = entity.Has("dl_server") && entity.NumberOr("dl_server", 0) != 0;
    if (!view.server) {
      NameTask(entity.address() - in_task->offset, &view.pid, &view.comm);
    } else {
      view.comm = "a server";
      for (const char* name : {"fair_server", "ext_server"}) {
        if (rq.Has(name) && rq.AddressOf(name) == entity.address()) view.comm = name;
      }
    }
    entities->push_back(std::move(view));
  }
}

void RunqueueReader::ReadDomains(const KernelStruct& rq, std::vector<SchedDomain>* domains) {
  if (!rq.Has("sd")) return;  // a kernel for one CPU
  auto domain = rq.Pointed("sd");
  for (int i = 0; domain.has_value() && i < kMostDomains; ++i) {
    SchedDomain view;
    if (domain->Has("name")) view.name = domain->Text("name");
    view.level = static_cast<int>(domain->NumberOr("level", 0));
    view.flags = domain->NumberOr("flags", 0) & 0xffffffff;
    // Where the structure has no field for the span, the span stands behind it (7.2): its weight
    // tells whether that holds.
    const uint64_t behind =
        domain->address() + kernel_.types().SizeOf("sched_domain").value_or(0);
    const uint64_t at = domain->Has("span") ? domain->AddressOf("span").value_or(0) : behind;
    const auto words = ReadCpuMask(kernel_.memory(), at, cpus_);
    uint64_t weight = 0;
    if (words.has_value()) {
      for (const uint64_t word : *words) weight += std::popcount(word);
    }
    if (words.has_value() && weight == domain->NumberOr("span_weight", 0)) {
      view.span = CpuList(*words, cpus_);
    } else {
      Say("domains: the span of one does not have its weight");
    }
    domains->push_back(std::move(view));
    domain = domain->Pointed("parent");
  }
}

void RunqueueReader::NameTask(uint64_t address, int* pid, std::string* comm) const {
  const KernelStruct task(&kernel_, "task_struct", address);
  *pid = static_cast<int>(task.NumberOr("pid", 0));
  *comm = task.Text("comm");
}

std::vector<uint64_t> RunqueueReader::Take(const char* what, Walk walk) {
  if (!walk.cut.empty()) Say(absl::StrCat(what, " ", walk.cut, "; there may be more"));
  budget_ -= std::min(budget_, walk.nodes.size());
  return std::move(walk.nodes);
}

void RunqueueReader::Say(std::string what) {
  if (said_.size() < kMostSaid && said_.insert(what).second) {
    unavailable_.push_back(std::move(what));
  }
}

void PutQueues(const RunqueueQueues& queues, nlohmann::json* runqueue) {
  using nlohmann::json;
  json fair = json::array();
  for (const FairEntity& entity : queues.fair) {
    json object = {{"depth", entity.depth}, {"weight", entity.weight},
                   {"vruntime_ns", entity.vruntime_ns}};
    if (entity.group.empty()) {
      object["pid"] = entity.pid;
      object["comm"] = entity.comm;
    } else {
      object["group"] = entity.group;
      object["queued"] = entity.queued;
    }
    if (entity.current) object["current"] = true;
    if (entity.throttled) object["throttled"] = true;
    if (entity.delayed) object["delayed"] = true;
    if (entity.deadline_ns.has_value()) object["deadline_ns"] = *entity.deadline_ns;
    if (entity.lag_ns.has_value()) object["lag_ns"] = *entity.lag_ns;
    fair.push_back(std::move(object));
  }
  json real_time = json::array();
  for (const RealTimeEntity& entity : queues.real_time) {
    json object = {
        {"pid", entity.pid}, {"comm", entity.comm}, {"priority", entity.priority}};
    if (entity.current) object["current"] = true;
    real_time.push_back(std::move(object));
  }
  json deadline = json::array();
  for (const DeadlineEntity& entity : queues.deadline) {
    json object = {{"deadline_ns", entity.deadline_ns}, {"runtime_ns", entity.runtime_ns}};
    object[entity.server ? "server" : "comm"] = entity.comm;
    if (!entity.server) object["pid"] = entity.pid;
    if (entity.throttled) object["throttled"] = true;
    deadline.push_back(std::move(object));
  }
  json domains = json::array();
  for (const SchedDomain& domain : queues.domains) {
    domains.push_back({{"name", domain.name},
                       {"level", domain.level},
                       {"span", domain.span},
                       {"flags", absl::StrFormat("%#x", domain.flags)}});
  }
  (*runqueue)["fair_queue"] = std::move(fair);
  (*runqueue)["real_time_queue"] = std::move(real_time);
  (*runqueue)["deadline_queue"] = std::move(deadline);
  (*runqueue)["domains"] = std::move(domains);
}

}  // namespace stasis
