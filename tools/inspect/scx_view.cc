#include "tools/inspect/scx_view.h"

#include <algorithm>
#include <initializer_list>
#include <unordered_set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tools/inspect/kernel_lists.h"

namespace stasis {
namespace {

constexpr size_t kMostQueues = 1 << 14;
constexpr size_t kMostSchedulers = 64;
constexpr uint64_t kMostNodes = 1024;

// enum scx_dsq_id_flags; libbpf's dump of it cuts these to what an int holds in some kernels.
constexpr uint64_t kBuiltIn = uint64_t{1} << 63, kLocalOn = uint64_t{1} << 62;
constexpr uint64_t kGlobal = kBuiltIn | 1, kLocal = kBuiltIn | 2, kBypass = kBuiltIn | 3;
constexpr uint64_t kCursor = 1;  // SCX_DSQ_LNODE_ITER_CURSOR
constexpr uint64_t kOnTree = 1;  // SCX_TASK_DSQ_ON_PRIQ

std::string StateName(const Kernel& kernel, uint64_t state) {
  // The order differs from kernel to kernel: by the enumeration's own names.
  for (const auto& [suffix, name] :
       {std::pair("ENABLING", "enabling"), std::pair("ENABLED", "enabled"),
        std::pair("DISABLING", "disabling"), std::pair("DISABLED", "disabled")}) {
    for (const char* prefix : {"SCX_OPS_", "SCX_"}) {
      if (kernel.types().Enumerator(absl::StrCat(prefix, suffix)) == static_cast<int64_t>(state)) {
        return name;
      }
    }
  }
  return absl::StrCat(state);
}

// The scheduler object (since 6.16), the root of all where there are sub-schedulers.
std::optional<KernelStruct> Root(const Kernel& kernel) {
  const auto root = kernel.Variable({"scx_root"}, 8);
  if (root.value_or(0) == 0) return std::nullopt;
  return KernelStruct(&kernel, "scx_sched", *root);
}

std::vector<KernelStruct> Schedulers(const Kernel& kernel) {
  std::vector<KernelStruct> schedulers;
  const auto all = kernel.Address("scx_sched_all");
  const auto link = kernel.types().Named("scx_sched").Find("all");
  if (all && link != nullptr) {
    for (const uint64_t at : WalkList(kernel, *all, kMostSchedulers).nodes) {
      schedulers.emplace_back(&kernel, "scx_sched", at - link->offset);
    }
  }
  if (schedulers.empty()) {
    if (const auto root = Root(kernel)) schedulers.push_back(*root);
  }
  return schedulers;
}

// The kernel's event counters, summed up over CPUs.
void ReadEvents(const Kernel& kernel, const std::optional<KernelStruct>& root, int cpus,
                ScxView* view) {
  const std::vector<std::string> names = kernel.types().Members("scx_event_stats");
  if (names.empty()) return;
  std::vector<KernelStruct> stats;
  for (int cpu = 0; cpu < cpus; ++cpu) {
    std::optional<uint64_t> at;
    if (root.has_value() && root->Has("pcpu")) {
      at = kernel.PerCpuAt(root->NumberOr("pcpu", 0), cpu);
      const auto inside = kernel.types().Named("scx_sched_pcpu").Find("event_stats");
      at = at && inside != nullptr ? std::optional<uint64_t>(*at + inside->offset) : std::nullopt;
    } else if (root.has_value() && root->Has("event_stats_cpu")) {
      at = kernel.PerCpuAt(root->NumberOr("event_stats_cpu", 0), cpu);
    } else {
      at = kernel.PerCpu("event_stats_cpu", cpu);  // 6.15
    }
    if (at.has_value()) stats.emplace_back(&kernel, "scx_event_stats", *at);
  }
  if (stats.empty()) return;
  for (const std::string& name : names) {
    uint64_t sum = 0;
    for (const KernelStruct& stat : stats) sum += stat.NumberOr(name.c_str(), 0);
    view->events.emplace_back(name, static_cast<int64_t>(sum));
  }
}

class QueueReader {
 public:
  QueueReader(const Kernel& kernel, ScxView* view, std::vector<std::string>* unavailable)
      : kernel_(kernel), view_(*view), unavailable_(*unavailable) {}

  void Read(DispatchQueue queue, uint64_t address) {
    if (!seen_.insert(address).second) return;
    KernelStruct dsq(&kernel_, "scx_dispatch_q", address);
    dsq.Fetch();
    if (view_.queues.size() >= kMostQueues) {
      return Say(absl::StrCat("sched_ext queues: cut after ", kMostQueues));
    }
    queue.id = dsq.NumberOr("id", 0);
    queue.count = dsq.NumberOr("nr", 0);
    const KernelTypes::Structure& type = kernel_.types().Named("task_struct");
    const auto link = type.Find("scx.dsq_list.node");
    const auto flags = type.Find("scx.dsq_list.flags");
    const auto list = dsq.AddressOf("list");
    if (link == nullptr || !list) return Say("sched_ext queues: of a form that is not known here");
    const Walk walk = WalkList(kernel_, *list, budget_);
    budget_ -= std::min(budget_, walk.nodes.size());
    if (!walk.cut.empty()) {
      Say(absl::StrFormat("sched_ext queue %s: its list %s; there may be more",
                          DispatchQueueName(queue.id), walk.cut));
    }
    for (const uint64_t at : walk.nodes) {
      const KernelStruct task(&kernel_, "task_struct", at - link->offset);
      // An iterator's place, and no task.
      if (flags != nullptr && (task.NumberOr("scx.dsq_list.flags", 0) & kCursor) != 0) continue;
      QueuedTask queued{static_cast<int>(task.NumberOr("pid", 0)), task.Text("comm"), {}};
      if ((task.NumberOr("scx.dsq_flags", 0) & kOnTree) != 0) {
        queued.vtime = task.Number("scx.dsq_vtime");
      }
      queue.tasks.push_back(std::move(queued));
    }
    view_.queues.push_back(std::move(queue));
  }

  // The pointers of an array, one for each NUMA node.
  void ReadGlobal(uint64_t array, uint64_t nodes, uint64_t offset, const std::string& scheduler) {
    for (uint64_t node = 0; node < std::min(nodes, kMostNodes); ++node) {
      const auto at = kernel_.memory().Load<uint64_t>(array + sizeof(uint64_t) * node);
      if (at.value_or(0) == 0) continue;
      DispatchQueue queue{.kind = "global", .node = static_cast<int>(node)};
      queue.scheduler = scheduler;
      Read(std::move(queue), *at + offset);
    }
  }

  void ReadUser(uint64_t table, const std::string& scheduler) {
    const auto link = kernel_.types().Named("scx_dispatch_q").Find("hash_node");
    if (link == nullptr) return;
    const Walk walk = WalkHashTable(kernel_, table, kMostQueues);
    if (!walk.cut.empty()) {
      Say(absl::StrCat("sched_ext queues: their table ", walk.cut, "; there may be more"));
    }
    const size_t first = view_.queues.size();
    for (const uint64_t at : walk.nodes) {
      DispatchQueue queue{.kind = "user"};
      queue.scheduler = scheduler;
      Read(std::move(queue), at - link->offset);
    }
    // A table has no order that means anything.
    std::sort(view_.queues.begin() + static_cast<int64_t>(first), view_.queues.end(),
              [](const DispatchQueue& a, const DispatchQueue& b) { return a.id < b.id; });
  }

  void Say(std::string what) {
    if (said_ < kMostSaid) unavailable_.push_back(std::move(what));
    ++said_;
  }

 private:
  static constexpr int kMostSaid = 32;

  const Kernel& kernel_;
  ScxView& view_;
  std::vector<std::string>& unavailable_;
  size_t budget_ = kMostQueuedTasks;
  std::unordered_set<uint64_t> seen_;
  int said_ = 0;
};

}  // namespace

std::string DispatchQueueName(uint64_t id) {
  if (id == kGlobal) return "global";
  if (id == kBypass) return "bypass";
  if (id == kLocal || (id & (kBuiltIn | kLocalOn)) == (kBuiltIn | kLocalOn)) return "local";
  return absl::StrCat("0x", absl::Hex(id));
}

// kernel/sched/ext.c. 6.12 has one scheduler in variables of its own; since 6.16 it is an object.
ScxView ReadScx(const Kernel& kernel, int cpus) {
  ScxView scx;
  const auto state = kernel.Variable({"scx_enable_state_var", "scx_ops_enable_state_var"}, 4);
  scx.built_in = state.has_value();
  if (!scx.built_in) return scx;
  scx.state = StateName(kernel, *state);
  scx.enabled_count = kernel.Variable({"scx_enable_seq"}, 8);
  scx.rejected_tasks = kernel.Variable({"scx_nr_rejected"}, 8);
  // A static key: its counter comes first.
  if (const auto all = kernel.Variable({"__scx_switched_all"}, 4)) scx.all_tasks = *all != 0;
  const auto jiffies = kernel.Variable({"jiffies", "jiffies_64"}, 8);
  const auto ran = kernel.Variable({"scx_watchdog_timestamp"}, 8);
  if (jiffies && ran && *jiffies >= *ran && scx.state == "enabled") {
    scx.watchdog_ran_jiffies = *jiffies - *ran;
  }
  std::optional<KernelStruct> ops, exit;
  const auto root = Root(kernel);
  std::optional<uint64_t> bypass;
  if (root.has_value()) {
    ops = root->Member("ops");
    exit = root->Pointed("exit_info");
    if (root->Has("bypass_depth")) bypass = root->Number("bypass_depth");
    if (root->Has("watchdog_timeout")) {
      scx.watchdog_timeout_jiffies = root->Number("watchdog_timeout");
    }
  } else {
    if (const auto at = kernel.Address("scx_ops")) {
      ops = KernelStruct(&kernel, "sched_ext_ops", *at);
    }
    const auto info = kernel.Variable({"scx_exit_info"}, 8);
    if (info.value_or(0) != 0) exit = KernelStruct(&kernel, "scx_exit_info", *info);
  }
  if (!bypass.has_value()) bypass = kernel.Variable({"scx_bypass_depth", "scx_ops_bypass_depth"}, 4);
  if (bypass.has_value()) scx.bypass_depth = static_cast<int32_t>(*bypass);
  if (!scx.watchdog_timeout_jiffies.has_value()) {
    scx.watchdog_timeout_jiffies = kernel.Variable({"scx_watchdog_timeout"}, 8);
  }
  if (scx.state == "disabled") scx.watchdog_timeout_jiffies.reset();  // of the last one
  ReadEvents(kernel, root, cpus, &scx);
  if (ops.has_value()) scx.ops = ops->Text("name");
  if (!exit.has_value()) return scx;
  scx.exit_kind = exit->Number("kind");
  if (scx.exit_kind.has_value()) {
    scx.exit_kind_name =
        kernel.types().EnumeratorName("scx_exit_kind", static_cast<int64_t>(*scx.exit_kind));
  }
  scx.exit_reason = exit->Text("reason");
  scx.exit_message = exit->Text("msg");
  return scx;
}

void ReadDispatchQueues(const Kernel& kernel, int cpus, ScxView* view,
                        std::vector<std::string>* unavailable) {
  if (!view->built_in || view->state == "disabled") return;
  QueueReader reader(kernel, view, unavailable);
  for (int cpu = 0; cpu < cpus; ++cpu) {
    const auto rq = kernel.PerCpu("runqueues", cpu);
    const auto local = rq ? KernelStruct(&kernel, "rq", *rq).AddressOf("scx.local_dsq")
                          : std::optional<uint64_t>();
    if (local.has_value()) reader.Read({.kind = "local", .cpu = cpu}, *local);
  }
  // One more than the last; a constant of the build where there is one node at most.
  const uint64_t nodes = kernel.Variable({"nr_node_ids"}, 4).value_or(1);
  const std::vector<KernelStruct> schedulers = Schedulers(kernel);
  for (const KernelStruct& scheduler : schedulers) {
    const auto ops = scheduler.Member("ops");
    const std::string name = schedulers.size() > 1 && ops ? ops->Text("name") : "";
    if (scheduler.Has("pnode")) {
      const auto offset = kernel.types().Named("scx_sched_pnode").Find("global_dsq");
      reader.ReadGlobal(scheduler.NumberOr("pnode", 0), nodes,
                        offset == nullptr ? 0 : offset->offset, name);
    } else if (scheduler.Has("global_dsqs")) {
      reader.ReadGlobal(scheduler.NumberOr("global_dsqs", 0), nodes, 0, name);
    }
    const auto bypass = kernel.types().Named("scx_sched_pcpu").Find("bypass_dsq");
    for (int cpu = 0; bypass != nullptr && scheduler.Has("pcpu") && cpu < cpus; ++cpu) {
      const auto at = kernel.PerCpuAt(scheduler.NumberOr("pcpu", 0), cpu);
      DispatchQueue queue{.kind = "bypass", .cpu = cpu};
      queue.scheduler = name;
      if (at.has_value()) reader.Read(std::move(queue), *at + bypass->offset);
    }
    if (scheduler.Has("dsq_hash")) reader.ReadUser(*scheduler.AddressOf("dsq_hash"), name);
  }
  if (!schedulers.empty()) return;
  if (const auto array = kernel.Variable({"global_dsqs"}, 8); array.value_or(0) != 0) {
    reader.ReadGlobal(*array, nodes, 0, "");
  }
  if (const auto table = kernel.Address("dsq_hash")) reader.ReadUser(*table, "");
}

std::optional<bool> IsBypassing(const Kernel& kernel, int cpu, const KernelStruct& rq) {
  if (const auto bit = kernel.types().Enumerator("SCX_RQ_BYPASSING")) {
    const auto flags = rq.Number("scx.flags");
    if (!flags.has_value()) return std::nullopt;
    return (*flags & static_cast<uint64_t>(*bit)) != 0;
  }
  // Of each scheduler since 7.0.
  const auto bit = kernel.types().Enumerator("SCX_SCHED_PCPU_BYPASSING");
  if (!bit.has_value()) return std::nullopt;
  const auto root = Root(kernel);
  if (!root.has_value()) return false;
  const auto at = kernel.PerCpuAt(root->NumberOr("pcpu", 0), cpu);
  if (!at.has_value()) return std::nullopt;
  const auto flags = KernelStruct(&kernel, "scx_sched_pcpu", *at).Number("flags");
  if (!flags.has_value()) return std::nullopt;
  return (*flags & static_cast<uint64_t>(*bit)) != 0;
}

nlohmann::json ToJson(const ScxView& view) {
  using nlohmann::json;
  json scx = {{"built_in", view.built_in}};
  if (!view.built_in) return scx;
  auto put = [&](const char* key, const auto& value) {
    if (value.has_value()) scx[key] = *value;
  };
  scx["state"] = view.state;
  scx["ops"] = view.ops;
  put("exit_kind", view.exit_kind);
  if (!view.exit_kind_name.empty()) scx["exit_kind_name"] = view.exit_kind_name;
  scx["exit_reason"] = view.exit_reason;
  scx["exit_message"] = view.exit_message;
  put("all_tasks", view.all_tasks);
  put("bypass_depth", view.bypass_depth);
  put("watchdog_timeout_jiffies", view.watchdog_timeout_jiffies);
  put("watchdog_ran_jiffies", view.watchdog_ran_jiffies);
  put("enabled_count", view.enabled_count);
  put("rejected_tasks", view.rejected_tasks);
  if (!view.events.empty()) {
    json events = json::object();
    for (const auto& [name, count] : view.events) events[name] = count;
    scx["events"] = std::move(events);
  }
  json queues = json::array();
  for (const DispatchQueue& queue : view.queues) {
    json object = {
        {"kind", queue.kind}, {"id", absl::StrCat("0x", absl::Hex(queue.id))}, {"count", queue.count}};
    if (queue.cpu.has_value()) object["cpu"] = *queue.cpu;
    if (queue.node.has_value()) object["node"] = *queue.node;
    if (!queue.scheduler.empty()) object["scheduler"] = queue.scheduler;
    json tasks = json::array();
    for (const QueuedTask& task : queue.tasks) {
      json entry = {{"pid", task.pid}, {"comm", task.comm}};
      if (task.vtime.has_value()) entry["vtime"] = *task.vtime;
      tasks.push_back(std::move(entry));
    }
    object["tasks"] = std::move(tasks);
    queues.push_back(std::move(object));
  }
  scx["queues"] = std::move(queues);
  return scx;
}

}  // namespace stasis
