// FakeKernel: the memory of a kernel with the structures of a scheduler, as small as they can be.
#ifndef STASIS_TOOLS_INSPECT_TESTING_FAKE_KERNEL_H_
#define STASIS_TOOLS_INSPECT_TESTING_FAKE_KERNEL_H_

#include <bpf/btf.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "tools/inspect/memory_image.h"
#include "vmm/dump/format.h"

namespace stasis {

// Types in BTF: structures are laid out field by field, each at a multiple of 8.
class FakeTypes {
 public:
  FakeTypes() : btf_(btf__new_empty()) {
    ids_["u32"] = btf__add_int(btf_, "unsigned int", 4, 0);
    ids_["i32"] = btf__add_int(btf_, "int", 4, BTF_INT_SIGNED);
    ids_["u64"] = btf__add_int(btf_, "long unsigned int", 8, 0);
    ids_["char"] = btf__add_int(btf_, "char", 1, BTF_INT_CHAR);
    ids_["name"] = btf__add_array(btf_, ids_["u32"], ids_["char"], 16);
    sizes_ = {{"u32", 4}, {"i32", 4}, {"u64", 8}, {"char", 1}, {"name", 16}};
  }
  ~FakeTypes() { btf__free(btf_); }

  // Fields: name and type. "*rq" points to a structure, which may come later; "rq[4]" is an array.
  void Add(const std::string& name, const std::vector<std::pair<std::string, std::string>>& fields) {
    uint64_t offset = 0;
    std::vector<int> ids;
    for (const auto& [field, type] : fields) ids.push_back(Id(type));
    for (const auto& [field, type] : fields) {
      offsets_[name][field] = offset;
      types_[name][field] = type;
      offset += (Size(type) + 7) / 8 * 8;
    }
    sizes_[name] = offset;
    ids_[name] = btf__add_struct(btf_, name.c_str(), static_cast<uint32_t>(offset));
    for (size_t i = 0; i < fields.size(); ++i) {
      const uint64_t at = offsets_[name][fields[i].first];
      btf__add_field(btf_, fields[i].first.c_str(), ids[i], static_cast<uint32_t>(at * 8), 0);
    }
  }
  void AddEnum(const std::string& name, int64_t value) {
    btf__add_enum(btf_, nullptr, 4);
    btf__add_enum_value(btf_, name.c_str(), value);
  }

  uint64_t Size(const std::string& type) const {
    if (type[0] == '*') return 8;
    const size_t bracket = type.find('[');
    if (bracket == std::string::npos) return sizes_.at(type);
    return Size(type.substr(0, bracket)) * std::stoul(type.substr(bracket + 1));
  }
  // Of "se.vruntime" in "task_struct".
  uint64_t Offset(const std::string& type, const std::string& path) const {
    const size_t dot = path.find('.');
    const std::string field = path.substr(0, dot);
    const uint64_t offset = offsets_.at(type).at(field);
    if (dot == std::string::npos) return offset;
    return offset + Offset(types_.at(type).at(field), path.substr(dot + 1));
  }
  std::string Bytes() const {
    uint32_t size = 0;
    const void* bytes = btf__raw_data(btf_, &size);
    return std::string(static_cast<const char*>(bytes), size);
  }

 private:
  int Id(const std::string& type) {
    if (const size_t bracket = type.find('['); bracket != std::string::npos) {
      return btf__add_array(btf_, ids_.at("u32"), Id(type.substr(0, bracket)),
                            static_cast<uint32_t>(std::stoul(type.substr(bracket + 1))));
    }
    if (type[0] != '*') return ids_.at(type);
    const std::string target = type.substr(1);
    if (target == "char" || ids_.count(target) != 0) return btf__add_ptr(btf_, ids_.at(target));
    return btf__add_ptr(btf_, btf__add_fwd(btf_, target.c_str(), BTF_FWD_STRUCT));
  }

  btf* const btf_;
  std::map<std::string, int> ids_;
  std::map<std::string, uint64_t> sizes_;
  std::map<std::string, std::map<std::string, uint64_t>> offsets_;
  std::map<std::string, std::map<std::string, std::string>> types_;
};

// Which kernel it resembles, where they differ.
struct FakeRelease {
  bool eevdf = false;          // virtual deadlines (6.6)
  bool scx_object = false;     // sched_ext's scheduler is an object (7.0), not a set of variables
  uint64_t task_padding = 0;   // bytes more in a task_struct
  uint64_t memory_bytes = 1 << 20;
};

class FakeKernel : public MemoryImage {
 public:
  explicit FakeKernel(int cpus, const FakeRelease& release = {})
      : memory_(release.memory_bytes, '\0') {
    DefineTypes(release);
    symbols_ = {{"_stext", kText}, {"_etext", kText + 0x100}, {"_end", memory_.size() - 1}};
    Symbol("nr_cpu_ids", Allocate(8));
    Store<uint32_t>(symbols_["nr_cpu_ids"], cpus);
    Symbol("__per_cpu_offset", Allocate(8 * cpus));
    const uint64_t rqs = Allocate(types.Size("rq") * cpus);
    Symbol("runqueues", rqs);
    for (int cpu = 0; cpu < cpus; ++cpu) {
      Store<uint64_t>(symbols_["__per_cpu_offset"] + 8 * cpu, types.Size("rq") * cpu);
      Set("rq", Runqueue(cpu), "online", 1);
      SetList(Runqueue(cpu) + types.Offset("rq", "scx.local_dsq.list"), {});
    }
    root_ = Allocate(types.Size("kernfs_node"));
    init_ = AddTask(0, "swapper/0");
    Symbol("init_task", init_);
    Set("task_struct", init_, "tasks.next", V(init_ + types.Offset("task_struct", "tasks.next")));
  }

  // Physical addresses; the kernel image is mapped at 0xffffffff80000000.
  static uint64_t V(uint64_t physical) { return dump::kX86KernelImageBase + physical; }
  uint64_t Allocate(uint64_t bytes) {
    const uint64_t at = next_;
    next_ += (bytes + 63) / 64 * 64;
    return at;
  }
  template <typename T>
  void Store(uint64_t physical, T value) {
    memcpy(memory_.data() + physical, &value, sizeof(value));
  }
  void Set(const std::string& type, uint64_t at, const std::string& path, uint64_t value) {
    // Every field has 8 bytes to itself.
    Store<uint64_t>(at + types.Offset(type, path), value);
  }
  void Symbol(const std::string& name, uint64_t physical) { symbols_[name] = physical; }
  uint64_t SymbolAt(const std::string& name) const { return symbols_.at(name); }
  // Of a finished kernel: its name is another.
  void ForgetSymbol(const std::string& name) {
    const size_t at = memory_.rfind("D" + name);
    if (at != std::string::npos) memory_[at + 1] = '?';
  }
  uint64_t Runqueue(int cpu) const { return symbols_.at("runqueues") + types.Size("rq") * cpu; }
  uint64_t init() const { return init_; }

  // A process of one thread, at the end of the list of all.
  uint64_t AddTask(int pid, const std::string& name) {
    const uint64_t task = AddThread(pid, pid, name, Allocate(types.Size("signal_struct")));
    if (last_ != 0) {
      Set("task_struct", last_, "tasks.next", V(task + types.Offset("task_struct", "tasks.next")));
      Set("task_struct", task, "tasks.next", V(init_ + types.Offset("task_struct", "tasks.next")));
    }
    last_ = task;
    return task;
  }
  // One more of the process that `leader` is.
  uint64_t AddThreadTo(uint64_t leader, int pid, const std::string& name) {
    uint64_t signal = 0;
    memcpy(&signal, memory_.data() + leader + types.Offset("task_struct", "signal"), 8);
    uint32_t tgid = 0;
    memcpy(&tgid, memory_.data() + leader + types.Offset("task_struct", "pid"), 4);
    return AddThread(pid, static_cast<int>(tgid), name, signal - V(0));
  }
  uint64_t AddCgroup(const std::string& name, uint64_t parent_node) {
    const uint64_t node = Allocate(types.Size("kernfs_node"));
    const uint64_t text = Allocate(name.size() + 1);
    memcpy(memory_.data() + text, name.c_str(), name.size() + 1);
    Set("kernfs_node", node, "name", V(text));
    Set("kernfs_node", node, "parent", V(parent_node));
    return node;
  }
  uint64_t root_cgroup() const { return root_; }
  void MoveToCgroup(uint64_t task, uint64_t node) {
    const uint64_t set = Allocate(types.Size("css_set")), cgroup = Allocate(types.Size("cgroup"));
    Set("cgroup", cgroup, "kn", V(node));
    Set("css_set", set, "dfl_cgrp", V(cgroup));
    Set("task_struct", task, "cgroups", V(set));
  }

  // A red-black tree of nodes, the leftmost first, below the rb_root at `root`.
  void SetTree(uint64_t root, const std::vector<uint64_t>& nodes) {
    Store<uint64_t>(root, Subtree(nodes, 0, nodes.size()));
  }
  // A list of nodes behind the list_head at `head`.
  void SetList(uint64_t head, const std::vector<uint64_t>& nodes) {
    uint64_t at = head;
    for (const uint64_t node : nodes) {
      Set("list_head", at, "next", V(node));
      at = node;
    }
    Set("list_head", at, "next", V(head));
  }
  // The tasks wait in the tree of the cfs_rq at `queue` in this order.
  void SetFairQueue(uint64_t queue, const std::vector<uint64_t>& entities) {
    std::vector<uint64_t> nodes;
    for (const uint64_t entity : entities) {
      nodes.push_back(entity + types.Offset("sched_entity", "run_node"));
    }
    SetTree(queue + types.Offset("cfs_rq", "tasks_timeline.rb_root"), nodes);
  }
  uint64_t FairQueue(int cpu) const { return Runqueue(cpu) + types.Offset("rq", "cfs"); }
  uint64_t Entity(uint64_t task) const { return task + types.Offset("task_struct", "se"); }
  // A task group of a cgroup, and its queue on one CPU. The entity of the group is returned.
  uint64_t AddGroup(const std::string& cgroup, const std::vector<uint64_t>& entities) {
    const uint64_t group = Allocate(types.Size("task_group"));
    const uint64_t at = Allocate(types.Size("cgroup"));
    const uint64_t queue = Allocate(types.Size("cfs_rq"));
    const uint64_t entity = Allocate(types.Size("sched_entity"));
    Set("cgroup", at, "kn", V(AddCgroup(cgroup, root_)));
    Set("task_group", group, "css.cgroup", V(at));
    Set("cfs_rq", queue, "tg", V(group));
    Set("cfs_rq", queue, "h_nr_running", entities.size());
    SetFairQueue(queue, entities);
    Set("sched_entity", entity, "my_q", V(queue));
    return entity;
  }
  uint64_t GroupQueue(uint64_t entity) const {
    return Get(entity + types.Offset("sched_entity", "my_q")) - V(0);
  }
  // A dispatch queue with tasks in order.
  uint64_t AddDispatchQueue(uint64_t id, const std::vector<uint64_t>& tasks) {
    const uint64_t queue = Allocate(types.Size("scx_dispatch_q"));
    SetDispatchQueue(queue, id, tasks);
    return queue;
  }
  void SetDispatchQueue(uint64_t queue, uint64_t id, const std::vector<uint64_t>& tasks) {
    std::vector<uint64_t> nodes;
    for (const uint64_t task : tasks) {
      nodes.push_back(task + types.Offset("task_struct", "scx.dsq_list.node"));
      Set("task_struct", task, "scx.dsq", V(queue));
    }
    SetList(queue + types.Offset("scx_dispatch_q", "list"), nodes);
    Set("scx_dispatch_q", queue, "nr", tasks.size());
    Set("scx_dispatch_q", queue, "id", id);
  }
  // A hash table of the queues: one chain in one of four buckets.
  void SetHashTable(uint64_t table, const std::vector<uint64_t>& queues) {
    const uint64_t buckets = Allocate(types.Size("bucket_table") + 4 * 8);
    Set("bucket_table", buckets, "size", 4);
    const uint64_t first = buckets + types.Offset("bucket_table", "buckets");
    Store<uint64_t>(first, 0);  // never used
    uint64_t at = first + 8;
    for (const uint64_t queue : queues) {
      const uint64_t node = queue + types.Offset("scx_dispatch_q", "hash_node");
      Store<uint64_t>(at, V(node));
      at = node;
    }
    // The end of a chain is odd; so is a bucket whose lock is held.
    Store<uint64_t>(at, at == first + 8 ? 1 : V(first + 8) | 1);
    Set("rhashtable", table, "tbl", V(buckets));
  }

  // Writes symbols and types: nothing is added behind it.
  void Finish() {
    const std::string btf = types.Bytes();
    const uint64_t types_at = Allocate(btf.size());
    memcpy(memory_.data() + types_at, btf.data(), btf.size());
    Symbol("__start_BTF", types_at);
    Symbol("__stop_BTF", types_at + btf.size());
    std::vector<std::pair<uint64_t, std::string>> sorted;
    for (const auto& [name, at] : symbols_) sorted.emplace_back(at, name);
    std::sort(sorted.begin(), sorted.end());
    const uint64_t number = Allocate(8), base = Allocate(8), offsets = Allocate(4 * sorted.size()),
                   tokens = Allocate(1024), token_index = Allocate(1024);
    Store<uint32_t>(number, static_cast<uint32_t>(sorted.size()));
    Store<uint64_t>(base, V(0));
    std::string names;
    for (size_t i = 0; i < sorted.size(); ++i) {
      Store<int32_t>(offsets + 4 * i, static_cast<int32_t>(sorted[i].first));
      names += static_cast<char>(sorted[i].second.size() + 1);
      names += 'D' + sorted[i].second;
    }
    const uint64_t names_at = Allocate(names.size());
    memcpy(memory_.data() + names_at, names.data(), names.size());
    for (int i = 0; i < 256; ++i) {
      Store<uint16_t>(token_index + 2 * i, static_cast<uint16_t>(2 * i));
      Store<char>(tokens + 2 * i, static_cast<char>(i));
    }
    vmcoreinfo_ = absl::StrFormat(
        "OSRELEASE=6.12.0\nNUMBER(phys_base)=0\nSYMBOL(kallsyms_num_syms)=%x\n"
        "SYMBOL(kallsyms_relative_base)=%x\nSYMBOL(kallsyms_offsets)=%x\nSYMBOL(kallsyms_names)=%x\n"
        "SYMBOL(kallsyms_token_table)=%x\nSYMBOL(kallsyms_token_index)=%x\n",
        V(number), V(base), V(offsets), V(names_at), V(tokens), V(token_index));
  }

  bool ReadPhysical(uint64_t address, void* to, size_t length) const override {
    if (length > memory_.size() || address > memory_.size() - length) return false;
    memcpy(to, memory_.data() + address, length);
    return true;
  }
  absl::string_view vmcoreinfo() const override { return vmcoreinfo_; }

  uint64_t Get(uint64_t physical) const {
    uint64_t value = 0;
    memcpy(&value, memory_.data() + physical, sizeof(value));
    return value;
  }
  // All of memory, which a test may change as a hostile guest does.
  std::string& bytes() { return memory_; }

  FakeTypes types;

 private:
  static constexpr uint64_t kText = 0x1000;

  uint64_t Subtree(const std::vector<uint64_t>& nodes, size_t from, size_t to) {
    if (from >= to) return 0;
    const size_t middle = (from + to) / 2;
    Set("rb_node", nodes[middle], "rb_left", Subtree(nodes, from, middle));
    Set("rb_node", nodes[middle], "rb_right", Subtree(nodes, middle + 1, to));
    return V(nodes[middle]);
  }

  void DefineScxTypes(const FakeRelease& release) {
    types.Add("rhash_head", {{"next", "*rhash_head"}});
    types.Add("bucket_table", {{"size", "u32"}, {"nest", "u32"}, {"future_tbl", "*bucket_table"},
                               {"buckets", "u64[0]"}});
    types.Add("rhashtable", {{"tbl", "*bucket_table"}});
    types.Add("scx_dispatch_q",
              {{"list", "list_head"}, {"nr", "u32"}, {"id", "u64"}, {"hash_node", "rhash_head"}});
    types.Add("scx_dsq_list_node", {{"node", "list_head"}, {"flags", "u32"}});
    types.Add("sched_ext_entity",
              {{"dsq", "*scx_dispatch_q"}, {"dsq_list", "scx_dsq_list_node"}, {"dsq_flags", "u32"},
               {"flags", "u32"}, {"runnable_at", "u64"}, {"dsq_vtime", "u64"}});
    types.Add("scx_rq", {{"local_dsq", "scx_dispatch_q"}, {"nr_running", "u32"}, {"flags", "u32"}});
    types.Add("sched_ext_ops", {{"name", "name"}});
    types.Add("scx_exit_info", {{"kind", "u32"}, {"reason", "*char"}, {"msg", "*char"}});
    types.AddEnum("SCX_TASK_QUEUED", 1);
    if (!release.scx_object) {
      types.AddEnum("SCX_OPS_ENABLED", 2);
      types.AddEnum("SCX_OPS_DISABLED", 4);
      types.AddEnum("SCX_RQ_BYPASSING", 16);
      return;
    }
    types.AddEnum("SCX_ENABLED", 1);
    types.AddEnum("SCX_DISABLED", 3);
    types.AddEnum("SCX_SCHED_PCPU_BYPASSING", 1);
    types.Add("scx_event_stats", {{"SCX_EV_ONE", "u64"}, {"SCX_EV_TWO", "u64"}});
    types.Add("scx_sched_pcpu", {{"flags", "u64"}, {"event_stats", "scx_event_stats"},
                                 {"bypass_dsq", "scx_dispatch_q"}});
    types.Add("scx_sched_pnode", {{"global_dsq", "scx_dispatch_q"}});
    types.Add("scx_sched",
              {{"ops", "sched_ext_ops"}, {"dsq_hash", "rhashtable"}, {"pnode", "u64"},
               {"pcpu", "*scx_sched_pcpu"}, {"bypass_depth", "i32"}, {"all", "list_head"},
               {"watchdog_timeout", "u64"}, {"exit_info", "*scx_exit_info"}});
  }

  void DefineTypes(const FakeRelease& release) {
    types.Add("list_head", {{"next", "*list_head"}});
    types.Add("rb_node", {{"rb_right", "*rb_node"}, {"rb_left", "*rb_node"}});
    types.Add("rb_root", {{"rb_node", "*rb_node"}});
    types.Add("rb_root_cached", {{"rb_root", "rb_root"}});
    types.Add("load_weight", {{"weight", "u64"}});
    std::vector<std::pair<std::string, std::string>> entity = {
        {"load", "load_weight"}, {"run_node", "rb_node"}, {"on_rq", "u32"},
        {"vruntime", "u64"}, {"sum_exec_runtime", "u64"}, {"my_q", "*cfs_rq"}};
    if (release.eevdf) {
      entity.insert(entity.end(), {{"deadline", "u64"}, {"slice", "u64"}, {"sched_delayed", "u32"}});
    }
    types.Add("sched_entity", entity);
    types.Add("sched_rt_entity", {{"run_list", "list_head"}});
    types.Add("sched_dl_entity", {{"rb_node", "rb_node"}, {"runtime", "u64"}, {"deadline", "u64"},
                                  {"dl_throttled", "u32"}, {"dl_server", "u32"}});
    DefineScxTypes(release);
    types.Add("sched_info", {{"run_delay", "u64"}, {"last_queued", "u64"}});
    types.Add("thread_info", {{"cpu", "u32"}});
    types.Add("signal_struct", {{"thread_head", "list_head"}});
    types.Add("kernfs_node", {{"name", "*char"}, {"parent", "*kernfs_node"}});
    types.Add("cgroup", {{"kn", "*kernfs_node"}});
    types.Add("css_set", {{"dfl_cgrp", "*cgroup"}});
    types.Add("cpumask", {{"bits", "u64"}});
    types.Add("task_struct",
              {{"__state", "u32"},         {"exit_state", "i32"},  {"on_cpu", "i32"},
               {"on_rq", "i32"},           {"pid", "i32"},         {"tgid", "i32"},
               {"static_prio", "i32"},     {"rt_priority", "u32"}, {"policy", "u32"},
               {"thread_info", "thread_info"}, {"se", "sched_entity"}, {"sched_info", "sched_info"},
               {"rt", "sched_rt_entity"},  {"dl", "sched_dl_entity"}, {"scx", "sched_ext_entity"},
               {"tasks", "list_head"},     {"thread_node", "list_head"},
               {"signal", "*signal_struct"}, {"cpus_ptr", "*cpumask"}, {"comm", "name"},
               {"cgroups", "*css_set"},
               {"padding", absl::StrFormat("char[%d]", release.task_padding)}});
    types.Add("cgroup_subsys_state", {{"cgroup", "*cgroup"}});
    types.Add("cfs_bandwidth", {{"quota", "u64"}});
    types.Add("task_group", {{"css", "cgroup_subsys_state"}, {"cfs_rq", "u64"},
                             {"list", "list_head"}, {"cfs_bandwidth", "cfs_bandwidth"}});
    types.Add("cfs_rq", {{"h_nr_running", "u32"}, {"tasks_timeline", "rb_root_cached"},
                         {"curr", "*sched_entity"}, {"tg", "*task_group"}, {"throttled", "u32"},
                         {"throttle_count", "u32"}});
    types.Add("rt_prio_array", {{"bitmap", "u64[2]"}, {"queue", "list_head[100]"}});
    types.Add("rt_rq", {{"active", "rt_prio_array"}, {"rt_nr_running", "u32"}});
    types.Add("dl_rq", {{"root", "rb_root_cached"}, {"dl_nr_running", "u32"}});
    types.Add("sched_domain", {{"parent", "*sched_domain"}, {"flags", "u32"}, {"level", "u32"},
                               {"name", "*char"}, {"span_weight", "u32"}, {"span", "u64[0]"}});
    types.Add("atomic_t", {{"counter", "i32"}});
    types.Add("qspinlock", {{"val", "atomic_t"}});
    types.Add("raw_spinlock", {{"raw_lock", "qspinlock"}});
    types.Add("rq", {{"__lock", "raw_spinlock"}, {"online", "i32"}, {"clock", "u64"}, {"nr_running", "u32"},
                     {"nr_switches", "u64"}, {"cfs", "cfs_rq"}, {"rt", "rt_rq"}, {"dl", "dl_rq"},
                     {"scx", "scx_rq"}, {"curr", "*task_struct"}, {"idle", "*task_struct"},
                     {"idle_stamp", "u64"}, {"sd", "*sched_domain"},
                     {"fair_server", "sched_dl_entity"}});
  }

  uint64_t AddThread(int pid, int tgid, const std::string& name, uint64_t signal) {
    const uint64_t task = Allocate(types.Size("task_struct"));
    Set("task_struct", task, "pid", static_cast<uint32_t>(pid));
    Set("task_struct", task, "tgid", static_cast<uint32_t>(tgid));
    Set("task_struct", task, "static_prio", 120);
    Set("task_struct", task, "signal", V(signal));
    memcpy(memory_.data() + task + types.Offset("task_struct", "comm"), name.c_str(),
           std::min<size_t>(name.size(), 15));
    // The head leads to the first thread, each to the next, the last to the head.
    const uint64_t head = signal + types.Offset("signal_struct", "thread_head.next");
    const uint64_t node = task + types.Offset("task_struct", "thread_node.next");
    uint64_t first = 0;
    memcpy(&first, memory_.data() + head, 8);
    Store<uint64_t>(node, first == 0 ? V(head) : first);
    Store<uint64_t>(head, V(node));
    return task;
  }

  std::string memory_;
  std::string vmcoreinfo_;
  std::map<std::string, uint64_t> symbols_;
  uint64_t next_ = 0x2000;
  uint64_t root_ = 0;
  uint64_t init_ = 0;
  uint64_t last_ = 0;
};

}  // namespace stasis

#endif  // STASIS_TOOLS_INSPECT_TESTING_FAKE_KERNEL_H_
