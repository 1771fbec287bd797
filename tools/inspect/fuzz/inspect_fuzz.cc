// Fuzz target: a kernel's memory in which bytes were changed, so that lists loop and pointers run
// wild, read as an image and as a dump file.
//
// An input chooses a kernel and lists changes to the memory of a small healthy one. Whatever they
// are, the view is read to an end, keeps its bounds, and what is shown of it is harmless to a
// terminal.
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "vmm/base/fuzz/input.h"
#include "tools/inspect/dump_file.h"
#include "tools/inspect/dump_text.h"
#include "tools/inspect/scheduler_text.h"
#include "tools/inspect/scheduler_view.h"
#include "tools/inspect/testing/core_builder.h"
#include "tools/inspect/testing/fake_kernel.h"

namespace stasis {
namespace {

constexpr int kCpus = 2;
constexpr uint64_t kMemoryBytes = 128 << 10;
constexpr int kMostOperations = 64;
constexpr char kTask[] = "task_struct";

// The reader broke its word. The fuzzer keeps the input.
[[noreturn]] void Broken(const char* what) {
  fprintf(stderr, "inspect_fuzz: %s\n", what);
  abort();
}

// A kernel with something in every queue that the view reads.
class Healthy {
 public:
  explicit Healthy(bool is_new)
      : kernel_(kCpus, {.eevdf = is_new, .scx_object = is_new, .memory_bytes = kMemoryBytes}) {
    std::vector<uint64_t> tasks;
    for (int i = 1; i <= 12; ++i) tasks.push_back(AddTask(i));
    const uint64_t leader = tasks[0];
    for (int i = 20; i < 23; ++i) {
      kernel_.Set(kTask, kernel_.AddThreadTo(leader, i, "thread"), "on_rq", 1);
    }
    auto entities = [&](size_t from, size_t to) {
      std::vector<uint64_t> list;
      for (size_t i = from; i < to; ++i) list.push_back(kernel_.Entity(tasks[i]));
      return list;
    };
    const uint64_t inner = kernel_.AddGroup("inner", entities(0, 2));
    std::vector<uint64_t> members = entities(2, 4);
    members.push_back(inner);
    const uint64_t outer = kernel_.AddGroup("outer", members);
    std::vector<uint64_t> top = entities(4, 6);
    top.push_back(outer);
    kernel_.SetFairQueue(kernel_.FairQueue(0), top);
    kernel_.Set("cfs_rq", kernel_.FairQueue(0), "curr", FakeKernel::V(kernel_.Entity(tasks[6])));
    AddThrottled(inner);
    AddOtherClasses(tasks[7], tasks[8]);
    AddScheduler(is_new, tasks);
    AddDomain();
    kernel_.Symbol("__start_orc_unwind_ip", kernel_.Allocate(64));
    kernel_.Symbol("__stop_orc_unwind_ip", kernel_.SymbolAt("__start_orc_unwind_ip") + 12);
    kernel_.Symbol("__start_orc_unwind", kernel_.Allocate(64));
    for (int i = 0; i < 3; ++i) {
      kernel_.Store<uint16_t>(kernel_.SymbolAt("__start_orc_unwind") + 6 * i + 4, 5 | 2 << 8);
    }
    kernel_.Finish();
    const std::string& bytes = kernel_.bytes();
    for (uint64_t at = 0; at + 8 <= bytes.size(); at += 8) {
      if (kernel_.Get(at) != 0) places_.push_back(at);
    }
  }

  const FakeKernel& kernel() { return kernel_; }
  const std::string& bytes() { return kernel_.bytes(); }
  // Where something stands that means something.
  const std::vector<uint64_t>& places() const { return places_; }

 private:
  uint64_t AddTask(int pid) {
    const uint64_t task = kernel_.AddTask(pid, absl::StrFormat("task-%d", pid));
    kernel_.Set(kTask, task, "on_rq", 1);
    kernel_.Set(kTask, task, "thread_info.cpu", pid % kCpus);
    kernel_.Set(kTask, task, "se.on_rq", 1);
    kernel_.Set(kTask, task, "se.load.weight", 1 << 20);
    kernel_.Set(kTask, task, "se.vruntime", 1000 * pid);
    kernel_.Set(kTask, task, "sched_info.last_queued", 100 * pid);
    kernel_.Set(kTask, task, "scx.flags", 1);
    const uint64_t mask = kernel_.Allocate(8);
    kernel_.Store<uint64_t>(mask, 3);
    kernel_.Set(kTask, task, "cpus_ptr", FakeKernel::V(mask));
    kernel_.MoveToCgroup(task, kernel_.AddCgroup("group", kernel_.root_cgroup()));
    return task;
  }
  void AddThrottled(uint64_t entity) {
    const uint64_t queue = kernel_.GroupQueue(entity);
    const uint64_t group =
        kernel_.Get(queue + kernel_.types.Offset("cfs_rq", "tg")) - FakeKernel::V(0);
    const uint64_t array = kernel_.Allocate(8 * kCpus), head = kernel_.Allocate(16);
    kernel_.Store<uint64_t>(array + 8, FakeKernel::V(queue));
    kernel_.Set("task_group", group, "cfs_rq", FakeKernel::V(array));
    kernel_.Set("task_group", group, "cfs_bandwidth.quota", 10'000'000);
    kernel_.Set("cfs_rq", queue, "throttle_count", 1);
    kernel_.SetList(head, {group + kernel_.types.Offset("task_group", "list")});
    kernel_.Symbol("task_groups", head);
  }
  void AddOtherClasses(uint64_t real_time, uint64_t deadline) {
    const uint64_t rq = kernel_.Runqueue(1);
    const uint64_t array = rq + kernel_.types.Offset("rq", "rt.active");
    kernel_.Store<uint64_t>(array, 1 << 5);
    kernel_.SetList(array + kernel_.types.Offset("rt_prio_array", "queue") + 8 * 5,
                    {real_time + kernel_.types.Offset(kTask, "rt.run_list")});
    const uint64_t server = rq + kernel_.types.Offset("rq", "fair_server");
    kernel_.Set("sched_dl_entity", server, "dl_server", 1);
    kernel_.SetTree(rq + kernel_.types.Offset("rq", "dl.root.rb_root"),
                    {deadline + kernel_.types.Offset(kTask, "dl.rb_node"), server});
    kernel_.Set("rq", rq, "curr", FakeKernel::V(real_time));
    kernel_.Set("rq", rq, "clock", 1'000'000'000);
  }
  void AddScheduler(bool is_new, const std::vector<uint64_t>& tasks) {
    Variable("jiffies", 5000);
    const uint64_t user = kernel_.AddDispatchQueue(7, {tasks[9], tasks[10]});
    const uint64_t global = kernel_.AddDispatchQueue(0x8000000000000001, {tasks[11]});
    const uint64_t array = kernel_.Allocate(8);
    kernel_.Store<uint64_t>(array, FakeKernel::V(global));
    const uint64_t info = kernel_.Allocate(kernel_.types.Size("scx_exit_info"));
    kernel_.Set("scx_exit_info", info, "kind", 1026);
    if (!is_new) {
      Variable("scx_ops_enable_state_var", 2);
      Variable("global_dsqs", FakeKernel::V(array));
      Variable("scx_exit_info", FakeKernel::V(info));
      const uint64_t table = kernel_.Allocate(kernel_.types.Size("rhashtable"));
      kernel_.SetHashTable(table, {user});
      kernel_.Symbol("dsq_hash", table);
      return;
    }
    Variable("scx_enable_state_var", 1);
    const uint64_t scheduler = kernel_.Allocate(kernel_.types.Size("scx_sched"));
    Variable("scx_root", FakeKernel::V(scheduler));
    kernel_.Set("scx_sched", scheduler, "pnode", FakeKernel::V(array));
    kernel_.Set("scx_sched", scheduler, "exit_info", FakeKernel::V(info));
    kernel_.SetHashTable(scheduler + kernel_.types.Offset("scx_sched", "dsq_hash"), {user});
    const uint64_t stride = kernel_.types.Size("rq");
    const uint64_t part = kernel_.Allocate(kCpus * stride);
    kernel_.Set("scx_sched", scheduler, "pcpu", FakeKernel::V(part));
    for (int cpu = 0; cpu < kCpus; ++cpu) {
      kernel_.SetDispatchQueue(
          part + stride * cpu + kernel_.types.Offset("scx_sched_pcpu", "bypass_dsq"),
          0x8000000000000003, {});
    }
  }
  void AddDomain() {
    const uint64_t domain = kernel_.Allocate(kernel_.types.Size("sched_domain") + 8);
    kernel_.Set("sched_domain", domain, "span_weight", 2);
    kernel_.Store<uint64_t>(domain + kernel_.types.Size("sched_domain"), 3);
    kernel_.Set("rq", kernel_.Runqueue(0), "sd", FakeKernel::V(domain));
  }
  void Variable(const std::string& name, uint64_t value) {
    const uint64_t at = kernel_.Allocate(8);
    kernel_.Store<uint64_t>(at, value);
    kernel_.Symbol(name, at);
  }

  FakeKernel kernel_;
  std::vector<uint64_t> places_;
};

// Its memory with an input's changes.
class ChangedImage : public MemoryImage {
 public:
  ChangedImage(Healthy* healthy, FuzzInput* input)
      : bytes_(healthy->bytes()), vmcoreinfo_(healthy->kernel().vmcoreinfo()) {
    for (int i = 0; i < kMostOperations && !input->empty(); ++i) Change(*healthy, input);
  }
  bool ReadPhysical(uint64_t address, void* to, size_t length) const override {
    if (length > bytes_.size() || address > bytes_.size() - length) return false;
    memcpy(to, bytes_.data() + address, length);
    return true;
  }
  absl::string_view vmcoreinfo() const override { return vmcoreinfo_; }
  const std::string& bytes() const { return bytes_; }

 private:
  void Change(const Healthy& healthy, FuzzInput* input) {
    const std::vector<uint64_t>& places = healthy.places();
    auto place = [&] { return places[input->Number(2) % places.size()]; };
    auto store = [&](uint64_t at, uint64_t value) {
      if (at <= bytes_.size() - sizeof(value)) memcpy(&bytes_[at], &value, sizeof(value));
    };
    if (bytes_.size() < sizeof(uint64_t)) return;
    switch (input->Byte() % 10) {
      case 0: {  // a pointer anywhere, to anywhere
        const uint64_t at = input->Number(3) % bytes_.size();
        return store(at, FakeKernel::V(input->Number(3)));
      }
      case 1:
      case 2: {  // a pointer to what another one means, or near it
        const uint64_t at = place();
        return store(at, FakeKernel::V(place() + static_cast<int8_t>(input->Byte())));
      }
      case 3: {
        const uint64_t at = place();
        return store(at, input->Number(8));
      }
      case 4: {
        const uint64_t at = place();
        return store(at, input->Byte());
      }
      case 5: {
        const uint64_t at = input->Number(3) % bytes_.size();
        bytes_[at] = static_cast<char>(input->Byte());
        return;
      }
      case 6: {
        const uint64_t to = place(), from = place();
        uint64_t value = 0;
        if (from <= bytes_.size() - sizeof(value)) memcpy(&value, &bytes_[from], sizeof(value));
        return store(to, value);
      }
      case 7:  // what is behind is not in the dump
        if (input->Byte() % 4 == 0) bytes_.resize(input->Number(3) % bytes_.size());
        return;
      case 8: {
        const uint64_t at = input->Number(2);
        if (at < vmcoreinfo_.size()) vmcoreinfo_[at] = static_cast<char>(input->Byte());
        return;
      }
      default: {
        const std::string bytes = input->Bytes(input->Byte() % 32);
        const uint64_t at = place();
        if (at <= bytes_.size() - std::min(bytes.size(), bytes_.size())) {
          memcpy(&bytes_[at], bytes.data(), std::min(bytes.size(), bytes_.size() - at));
        }
        return;
      }
    }
  }

  std::string bytes_;
  std::string vmcoreinfo_;
};

void MustBeHarmless(const std::string& text) {
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte < 0x20 && c != '\n' && c != '\t') || byte == 0x7f) Broken("a control character");
  }
}

void ReadImage(const MemoryImage& image) {
  auto kernel = Kernel::Open(&image);
  if (!kernel.ok()) return;
  for (int round = 0; round < 2; ++round) {  // also with what the first one kept
    const SchedulerView view = ReadScheduler(**kernel);
    if (view.tasks.size() > kMostViewedTasks) Broken("more tasks than there may be");
    size_t nodes = 0, queued = 0;
    for (const RunqueueView& rq : view.runqueues) nodes += rq.queues.fair.size();
    for (const DispatchQueue& queue : view.scx.queues) queued += queue.tasks.size();
    if (nodes > 2 * RunqueueReader::kMostNodes) Broken("more entities than there may be");
    if (queued > kMostQueuedTasks) Broken("more queued tasks than there may be");
    if (round > 0) continue;
    for (const TaskFilter& filter :
         {TaskFilter{}, TaskFilter{.cpu = 1, .states = "R", .cgroup = "/outer"}}) {
      for (const auto text : {&TasksText, &RunqueuesText, &ScxText, &CgroupsText}) {
        MustBeHarmless(text(view, filter));
      }
    }
    MustBeHarmless(LongestWaitText(view));
    if (ToJson(view).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).empty()) {
      Broken("no JSON");
    }
  }
}

// The file's own bytes are changed as well: headers, notes, facts, its end.
void ReadFile(const ChangedImage& image, FuzzInput* input) {
  CoreBuilder core(image.bytes().size());
  core.StoreText(0, image.bytes());
  core.AddVmcoreInfo(std::string(image.vmcoreinfo()));
  core.AddFacts(absl::StrFormat(
      R"({"trigger":{"kind":"guest-panic","vcpu":0},"verdict":{"message":"it broke"},"vcpus":[)"
      R"({"index":0,"regs":{"rip":"%#x","rsp":"%#x","rbp":"0x0"},"sregs":{"cs":{"selector":"0x10"}}}],)"
      R"("devices":[{"name":"d","state":{"status":"0xf","queues":[{"size":8}]}}],)"
      R"("console":{"tail":"\u001b[2J"},"timeline":[{"at_monotonic_ns":5,"what":"x"}]})",
      FakeKernel::V(0x1010), FakeKernel::V(0x2000)));
  std::string bytes = core.Bytes();
  for (int i = 0; i < kMostOperations && !input->empty(); ++i) {
    const uint64_t at = input->Number(2);
    if (at >= 0xfff0) {
      bytes.resize(input->Number(3) % (bytes.size() + 1));
    } else if (at < bytes.size()) {
      bytes[at] = static_cast<char>(input->Byte());
    }
  }
  const int fd = memfd_create("dump", MFD_CLOEXEC);
  if (fd < 0 || write(fd, bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size())) {
    Broken("no file");
  }
  const auto dump = DumpFile::Open(absl::StrFormat("/proc/self/fd/%d", fd));
  if (dump.ok()) {
    ReadImage(**dump);
    const DumpText text(dump->get());
    for (const auto part : {&DumpText::Summary, &DumpText::Cpus, &DumpText::Backtrace,
                            &DumpText::Devices, &DumpText::Console, &DumpText::Timeline,
                            &DumpText::Notes}) {
      MustBeHarmless((text.*part)());
    }
    MustBeHarmless(text.Diff(**dump));
    for (const bool physical : {false, true}) {
      const auto memory = text.Memory("0x1000", physical, 64);
      if (memory.ok()) MustBeHarmless(*memory);
    }
  }
  close(fd);
}

}  // namespace
}  // namespace stasis

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static auto& old_kernel = *new stasis::Healthy(false);
  static auto& new_kernel = *new stasis::Healthy(true);
  stasis::FuzzInput input(data, size);
  const uint8_t kind = input.Byte();
  // Changes of the file have a part of the input of their own.
  const std::string file_changes = (kind & 2) != 0 ? input.Bytes(input.Byte()) : "";
  const stasis::ChangedImage image((kind & 1) != 0 ? &new_kernel : &old_kernel, &input);
  if ((kind & 2) == 0) {
    stasis::ReadImage(image);
  } else {
    stasis::FuzzInput changes(reinterpret_cast<const uint8_t*>(file_changes.data()),
                              file_changes.size());
    stasis::ReadFile(image, &changes);
  }
  return 0;
}
