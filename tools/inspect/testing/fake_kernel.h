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
    sizes_ = {{"u32", 4}, {"i32", 4}, {"u64", 8}, {"name", 16}};
  }
  ~FakeTypes() { btf__free(btf_); }

  // Fields: name and type. "*rq" points to a structure, which may come later.
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

  uint64_t Size(const std::string& type) const { return type[0] == '*' ? 8 : sizes_.at(type); }
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

class FakeKernel : public MemoryImage {
 public:
  explicit FakeKernel(int cpus) : memory_(0x100000, '\0') {
    DefineTypes();
    symbols_ = {{"_stext", kText}, {"_etext", kText + 0x100}, {"_end", memory_.size() - 1}};
    Symbol("nr_cpu_ids", Allocate(8));
    Store<uint32_t>(symbols_["nr_cpu_ids"], cpus);
    Symbol("__per_cpu_offset", Allocate(8 * cpus));
    const uint64_t rqs = Allocate(types.Size("rq") * cpus);
    Symbol("runqueues", rqs);
    for (int cpu = 0; cpu < cpus; ++cpu) {
      Store<uint64_t>(symbols_["__per_cpu_offset"] + 8 * cpu, types.Size("rq") * cpu);
      Set("rq", Runqueue(cpu), "online", 1);
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

  FakeTypes types;

 private:
  static constexpr uint64_t kText = 0x1000;

  void DefineTypes() {
    types.Add("list_head", {{"next", "*list_head"}});
    types.Add("sched_entity", {{"vruntime", "u64"}, {"sum_exec_runtime", "u64"}});
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
               {"tasks", "list_head"},     {"thread_node", "list_head"},
               {"signal", "*signal_struct"}, {"cpus_ptr", "*cpumask"}, {"comm", "name"},
               {"cgroups", "*css_set"}});
    types.Add("cfs_rq", {{"h_nr_running", "u32"}});
    types.Add("rt_rq", {{"rt_nr_running", "u32"}});
    types.Add("dl_rq", {{"dl_nr_running", "u32"}});
    types.Add("rq", {{"online", "i32"}, {"clock", "u64"}, {"nr_running", "u32"},
                     {"nr_switches", "u64"}, {"cfs", "cfs_rq"}, {"rt", "rt_rq"}, {"dl", "dl_rq"},
                     {"curr", "*task_struct"}});
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
