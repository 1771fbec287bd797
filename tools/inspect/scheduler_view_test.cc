#include "tools/inspect/scheduler_view.h"

#include <bpf/btf.h>

#include <cstring>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tools/inspect/scheduler_text.h"
#include "tools/inspect/testing/fake_kernel.h"

namespace stasis {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr char kTask[] = "task_struct";

class SchedulerViewTest : public ::testing::Test {
 protected:
  SchedulerView Read() {
    kernel_.Finish();
    auto opened = Kernel::Open(&kernel_);
    EXPECT_TRUE(opened.ok()) << opened.status();
    return opened.ok() ? ReadScheduler(**opened) : SchedulerView();
  }
  // On the runqueue of `cpu` since `since`.
  void Queue(uint64_t task, int cpu, uint64_t since) {
    kernel_.Set(kTask, task, "on_rq", 1);
    kernel_.Set(kTask, task, "thread_info.cpu", cpu);
    kernel_.Set(kTask, task, "sched_info.last_queued", since);
  }
  static std::vector<int> Pids(const SchedulerView& view) {
    std::vector<int> pids;
    for (const TaskView& task : view.tasks) pids.push_back(task.pid);
    return pids;
  }

  FakeKernel kernel_{2};
};

TEST_F(SchedulerViewTest, D5_RunqueuesAreReadByFieldName) {
  const uint64_t busy = kernel_.AddTask(7, "busy");
  kernel_.Set("rq", kernel_.Runqueue(1), "clock", 5000);
  kernel_.Set("rq", kernel_.Runqueue(1), "nr_running", 3);
  kernel_.Set("rq", kernel_.Runqueue(1), "cfs.h_nr_running", 2);
  kernel_.Set("rq", kernel_.Runqueue(1), "rt.rt_nr_running", 1);
  kernel_.Set("rq", kernel_.Runqueue(1), "curr", FakeKernel::V(busy));

  const SchedulerView view = Read();

  ASSERT_EQ(view.runqueues.size(), 2u);
  EXPECT_EQ(view.runqueues[0].running, 0u);
  const RunqueueView& rq = view.runqueues[1];
  EXPECT_TRUE(rq.online);
  EXPECT_EQ(rq.clock_ns, 5000u);
  EXPECT_EQ(rq.running, 3u);
  EXPECT_EQ(rq.fair, 2u);
  EXPECT_EQ(rq.rt, 1u);
  EXPECT_EQ(rq.current_pid, 7);
  EXPECT_EQ(rq.current_comm, "busy");
  EXPECT_FALSE(view.scx.built_in);
}

TEST_F(SchedulerViewTest, D5_TasksAndTheirThreadsAreFoundTheLongestWaitingFirst) {
  kernel_.Set("rq", kernel_.Runqueue(1), "clock", 9'000'000'000);
  const uint64_t process = kernel_.AddTask(10, "process");
  const uint64_t thread = kernel_.AddThreadTo(process, 11, "thread");
  const uint64_t starved = kernel_.AddTask(12, "starved");
  Queue(thread, 1, 8'000'000'000);
  Queue(starved, 1, 2'000'000'000);
  kernel_.Set(kTask, starved, "static_prio", 125);
  kernel_.Set(kTask, process, "__state", 1);

  const SchedulerView view = Read();

  EXPECT_THAT(Pids(view), ElementsAre(12, 11, 0, 10));
  EXPECT_EQ(view.tasks[0].waiting_ns, 7'000'000'000u);
  EXPECT_EQ(view.tasks[0].nice, 5);
  EXPECT_EQ(view.tasks[1].tgid, 10);
  EXPECT_EQ(view.tasks[3].state, 'S');
  EXPECT_THAT(LongestWaitText(view),
              HasSubstr("starved (pid 12, normal 5, cgroup /) waits for CPU 1 since 7.00 s"));
}

TEST_F(SchedulerViewTest, D5_CgroupPathAffinityAndPolicyAreThoseOfTheTask) {
  const uint64_t task = kernel_.AddTask(20, "worker");
  const uint64_t left = kernel_.AddCgroup("left", kernel_.root_cgroup());
  kernel_.MoveToCgroup(task, kernel_.AddCgroup("inner", left));
  const uint64_t mask = kernel_.Allocate(8);
  kernel_.Store<uint64_t>(mask, 2);
  kernel_.Set(kTask, task, "cpus_ptr", FakeKernel::V(mask));
  kernel_.Set(kTask, task, "policy", 1);
  kernel_.Set(kTask, task, "rt_priority", 30);

  const SchedulerView view = Read();

  const TaskView& worker = view.tasks.back();
  EXPECT_EQ(worker.cgroup, "/left/inner");
  EXPECT_EQ(worker.cpus_allowed, "1");
  EXPECT_EQ(worker.policy, "fifo");
  EXPECT_THAT(TasksText(view, {.cpu = {}, .states = "", .cgroup = "/left"}), HasSubstr("worker"));
  EXPECT_THAT(TasksText(view, {.cpu = {}, .states = "", .cgroup = "/le"}), Not(HasSubstr("worker")));
  EXPECT_THAT(CgroupsText(view), HasSubstr("/left/inner\n"));
}

TEST_F(SchedulerViewTest, FieldsThatAKernelLacksAreNamedAndTheRestIsRead) {
  kernel_.AddTask(30, "task");

  const SchedulerView view = Read();

  EXPECT_THAT(Pids(view), ElementsAre(0, 30));
  EXPECT_EQ(view.tasks[1].slice_ns, std::nullopt) << "this kernel is older than EEVDF";
  EXPECT_THAT(view.unavailable, IsEmpty()) << "what is optional is not missed";
}

TEST_F(SchedulerViewTest, ListThatLeadsInACircleEndsAndIsSaid) {
  const uint64_t first = kernel_.AddTask(40, "first");
  const uint64_t second = kernel_.AddTask(41, "second");
  // The guest overwrote its list: back to the first, never to init_task again.
  kernel_.Set(kTask, second, "tasks.next",
              FakeKernel::V(first + kernel_.types.Offset(kTask, "tasks.next")));

  const SchedulerView view = Read();

  EXPECT_THAT(Pids(view), ElementsAre(0, 40, 41));
  EXPECT_THAT(view.unavailable, Contains(HasSubstr("in a circle")));
}

TEST_F(SchedulerViewTest, WildPointersEndListsAndGiveNoValues) {
  const uint64_t task = kernel_.AddTask(50, "wild");
  for (const char* pointer : {"tasks.next", "signal", "cpus_ptr", "cgroups", "thread_node.next"}) {
    kernel_.Set(kTask, task, pointer, 0x1234567890abcdef);
  }
  kernel_.Set("rq", kernel_.Runqueue(0), "curr", 0xffffffffffffffff);

  const SchedulerView view = Read();

  EXPECT_THAT(Pids(view), ::testing::IsSupersetOf({0, 50}));
  EXPECT_THAT(view.unavailable, Contains(HasSubstr("tasks: ")));
  EXPECT_FALSE(RunqueuesText(view, {}).empty());
}

TEST_F(SchedulerViewTest, CpusThatShareARunqueueAreReadOnce) {
  kernel_.Store<uint32_t>(kernel_.SymbolAt("nr_cpu_ids"), 4096);
  kernel_.Set("rq", kernel_.Runqueue(0), "nr_running", 5);

  const SchedulerView view = Read();

  ASSERT_EQ(view.runqueues.size(), 4096u);
  EXPECT_EQ(view.runqueues[0].running, 5u);
  for (size_t cpu = 2; cpu < view.runqueues.size(); ++cpu) {
    if (view.runqueues[cpu].running == 5) ADD_FAILURE() << "CPU " << cpu;
  }
}

TEST_F(SchedulerViewTest, GuestsTextIsMadePrintable) {
  kernel_.AddTask(60, "evil\x1b[2J\n");

  const SchedulerView view = Read();

  EXPECT_THAT(TasksText(view, {}), HasSubstr("evil?[2J?"));
}

TEST_F(SchedulerViewTest, KernelWithoutTypesSaysWhatItLacks) {
  kernel_.Finish();
  const std::string text(kernel_.vmcoreinfo());
  FakeKernel bare(1);  // no Finish: no symbols at all

  EXPECT_TRUE(absl::IsNotFound(Kernel::Open(&bare).status()));
  EXPECT_THAT(text, HasSubstr("kallsyms_names"));
}

TEST_F(SchedulerViewTest, KernelWithoutBtfIsToldApartFromOneWhoseBtfIsNonsense) {
  FakeKernel without(1), nonsense(1), cut(1);
  without.Finish();
  without.ForgetSymbol("__start_BTF");
  nonsense.Finish();
  memset(&nonsense.bytes()[nonsense.SymbolAt("__start_BTF")], 0x5a, 64);
  cut.Finish();
  cut.bytes().resize(cut.SymbolAt("__start_BTF") + 100);

  EXPECT_TRUE(absl::IsNotFound(Kernel::Open(&without).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(Kernel::Open(&nonsense).status()));
  EXPECT_FALSE(Kernel::Open(&cut).ok());
}

// Found by the fuzzer: the leader is in the list as well, and was passed over for ever.
TEST_F(SchedulerViewTest, LeaderWhoseThreadsLeadBackToItEndsTheList) {
  const uint64_t leader = kernel_.AddTask(70, "leader");
  const uint64_t node = leader + kernel_.types.Offset("task_struct", "thread_node.next");
  kernel_.Store<uint64_t>(node, FakeKernel::V(node));
  kernel_.Finish();
  const auto opened = Kernel::Open(&kernel_);
  ASSERT_TRUE(opened.ok()) << opened.status();

  const SchedulerView view = ReadScheduler(**opened);

  EXPECT_THAT(view.unavailable, Contains(HasSubstr("in a circle")));
}

TEST(SchedulerViewBoundsTest, TasksBeyondTheBoundAreCutAndThatIsSaid) {
  FakeKernel kernel(1, {.memory_bytes = 64 << 20});
  for (size_t i = 1; i <= kMostViewedTasks; ++i) kernel.AddTask(static_cast<int>(i), "one of many");
  kernel.Finish();
  const auto opened = Kernel::Open(&kernel);
  ASSERT_TRUE(opened.ok()) << opened.status();

  const SchedulerView view = ReadScheduler(**opened);

  EXPECT_EQ(view.tasks.size(), kMostViewedTasks);
  EXPECT_THAT(view.unavailable, Contains(HasSubstr("tasks: cut after 32768")));
}

TEST_F(SchedulerViewTest, PartsThatAreNotAskedForAreNotRead) {
  kernel_.AddTask(70, "task");
  kernel_.Finish();
  const auto opened = Kernel::Open(&kernel_);
  ASSERT_TRUE(opened.ok()) << opened.status();

  const SchedulerView view = ReadScheduler(**opened, {.tasks = false, .queues = false});

  EXPECT_EQ(view.runqueues.size(), 2u);
  EXPECT_THAT(view.tasks, IsEmpty());
}

TEST(KernelTypesTest, UnnamedMembersWithoutEndAreGivenUp) {
  // A union of two unnamed members, each of the same union: a look into it would never end.
  btf* types = btf__new_empty();
  btf__add_union(types, "endless", 8);
  btf__add_field(types, "", 1, 0, 0);
  btf__add_field(types, "", 1, 0, 0);
  uint32_t size = 0;
  const void* bytes = btf__raw_data(types, &size);

  const auto parsed = KernelTypes::Parse({static_cast<const char*>(bytes), size});

  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->Find("endless", "field"), std::nullopt);
  btf__free(types);
}

TEST(KernelTypesTest, BytesThatAreNoBtfAreRefused) {
  EXPECT_TRUE(absl::IsInvalidArgument(KernelTypes::Parse("garbage").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(KernelTypes::Parse("").status()));
}

TEST(KernelTypesTest, FieldsAreFoundThroughStructuresAndEnumeratorsByName) {
  FakeTypes fake;
  fake.Add("inner", {{"first", "u32"}, {"second", "i32"}});
  fake.Add("outer", {{"id", "u64"}, {"in", "inner"}, {"next", "*outer"}});
  fake.AddEnum("THE_ANSWER", 42);

  const auto types = KernelTypes::Parse(fake.Bytes());

  ASSERT_TRUE(types.ok()) << types.status();
  const auto field = types->Find("outer", "in.second");
  ASSERT_TRUE(field.has_value());
  EXPECT_EQ(field->offset, 16u);
  EXPECT_EQ(field->size, 4u);
  EXPECT_TRUE(field->is_signed);
  EXPECT_EQ(types->Find("outer", "next")->type, "outer");
  EXPECT_EQ(types->Find("outer", "in.third"), std::nullopt);
  EXPECT_EQ(types->Find("no_such", "id"), std::nullopt);
  EXPECT_EQ(types->SizeOf("outer"), 32u);
  EXPECT_EQ(types->Enumerator("THE_ANSWER"), 42);
  EXPECT_EQ(types->Enumerator("THE_QUESTION"), std::nullopt);
}

}  // namespace
}  // namespace stasis
