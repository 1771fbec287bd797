#include "tools/inspect/scx_view.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tools/inspect/scheduler_text.h"
#include "tools/inspect/scheduler_view.h"
#include "tools/inspect/testing/fake_kernel.h"

namespace stasis {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

constexpr char kTask[] = "task_struct";

SchedulerView Read(FakeKernel* kernel) {
  kernel->Finish();
  auto opened = Kernel::Open(kernel);
  EXPECT_TRUE(opened.ok()) << opened.status();
  return opened.ok() ? ReadScheduler(**opened) : SchedulerView();
}

uint64_t Runnable(FakeKernel* kernel, int pid, const std::string& name) {
  const uint64_t task = kernel->AddTask(pid, name);
  kernel->Set(kTask, task, "on_rq", 1);
  kernel->Set(kTask, task, "scx.flags", 1);
  return task;
}

uint64_t Variable(FakeKernel* kernel, const std::string& name, uint64_t value) {
  const uint64_t at = kernel->Allocate(8);
  kernel->Store<uint64_t>(at, value);
  kernel->Symbol(name, at);
  return at;
}

std::vector<int> Pids(const DispatchQueue& queue) {
  std::vector<int> pids;
  for (const QueuedTask& task : queue.tasks) pids.push_back(task.pid);
  return pids;
}

const DispatchQueue* Find(const SchedulerView& view, const std::string& kind, uint64_t id = 0) {
  for (const DispatchQueue& queue : view.scx.queues) {
    if (queue.kind == kind && (kind != "user" || queue.id == id)) return &queue;
  }
  return nullptr;
}

// As 6.12 has it.
class ScxVariablesTest : public ::testing::Test {
 protected:
  ScxVariablesTest() {
    Variable(&kernel_, "scx_ops_enable_state_var", 2);
    Variable(&kernel_, "scx_ops_bypass_depth", 0);
    Variable(&kernel_, "scx_watchdog_timeout", 500);
    Variable(&kernel_, "scx_watchdog_timestamp", 10'000);
    Variable(&kernel_, "jiffies", 10'100);
    table_ = kernel_.Allocate(kernel_.types.Size("rhashtable"));
    kernel_.Symbol("dsq_hash", table_);
    const uint64_t ops = kernel_.Allocate(kernel_.types.Size("sched_ext_ops"));
    memcpy(&kernel_.bytes()[ops], "tester", 6);
    kernel_.Symbol("scx_ops", ops);
  }

  FakeKernel kernel_{2};
  uint64_t table_ = 0;
};

TEST_F(ScxVariablesTest, QueuesHoldTheirTasksInOrder) {
  const uint64_t a = Runnable(&kernel_, 11, "a"), b = Runnable(&kernel_, 12, "b"),
                 c = Runnable(&kernel_, 13, "c"), d = Runnable(&kernel_, 14, "d"),
                 lost = Runnable(&kernel_, 15, "lost");
  (void)lost;
  const uint64_t seven = kernel_.AddDispatchQueue(7, {c, a});
  const uint64_t five = kernel_.AddDispatchQueue(5, {});
  kernel_.SetHashTable(table_, {seven, five});
  kernel_.SetDispatchQueue(
      kernel_.Runqueue(1) + kernel_.types.Offset("rq", "scx.local_dsq"), 0x8000000000000002, {b});
  const uint64_t array = kernel_.Allocate(8);
  kernel_.Store<uint64_t>(array,
                          FakeKernel::V(kernel_.AddDispatchQueue(0x8000000000000001, {d})));
  Variable(&kernel_, "global_dsqs", FakeKernel::V(array));

  const SchedulerView view = Read(&kernel_);

  EXPECT_EQ(view.scx.state, "enabled");
  EXPECT_EQ(view.scx.ops, "tester");
  EXPECT_EQ(view.scx.bypass_depth, 0);
  EXPECT_EQ(view.scx.watchdog_timeout_jiffies, 500u);
  EXPECT_EQ(view.scx.watchdog_ran_jiffies, 100u);
  ASSERT_EQ(view.scx.queues.size(), 5u);  // two local ones, a global one, two of users
  EXPECT_THAT(Pids(*Find(view, "user", 7)), ElementsAre(13, 11));
  EXPECT_THAT(Pids(*Find(view, "user", 5)), IsEmpty());
  EXPECT_THAT(Pids(*Find(view, "global")), ElementsAre(14));
  EXPECT_THAT(Pids(view.scx.queues[1]), ElementsAre(12));
  EXPECT_EQ(view.scx.queues[1].cpu, 1);
  EXPECT_THAT(view.unavailable, IsEmpty());
  const std::string text = ScxText(view);
  EXPECT_THAT(text, HasSubstr("in no queue (with the BPF scheduler, or lost by it): 1 tasks\n"));
  EXPECT_THAT(text, HasSubstr("queue 0x7: 2 tasks\n     13"));
  EXPECT_THAT(text, HasSubstr("queue local of CPU 1: 1 tasks\n"));
  EXPECT_THAT(text, HasSubstr("empty queues: local of CPU 0, 0x5\n"));
}

TEST_F(ScxVariablesTest, OrderedQueueShowsVirtualTimesAndIteratorsAreNoTasks) {
  const uint64_t task = Runnable(&kernel_, 20, "timed");
  const uint64_t iterator = kernel_.Allocate(kernel_.types.Size(kTask));
  kernel_.Set(kTask, iterator, "scx.dsq_list.flags", 1);
  kernel_.Set(kTask, task, "scx.dsq_flags", 1);
  kernel_.Set(kTask, task, "scx.dsq_vtime", 4711);
  kernel_.SetHashTable(table_, {kernel_.AddDispatchQueue(3, {iterator, task})});

  const SchedulerView view = Read(&kernel_);

  const DispatchQueue* queue = Find(view, "user", 3);
  ASSERT_NE(queue, nullptr);
  ASSERT_THAT(Pids(*queue), ElementsAre(20));
  EXPECT_EQ(queue->tasks[0].vtime, 4711u);
  EXPECT_THAT(ScxText(view), HasSubstr("  vtime 4711\n"));
}

TEST_F(ScxVariablesTest, BucketWhoseLockIsHeldIsWalkedAllTheSame) {
  const uint64_t task = Runnable(&kernel_, 21, "held");
  kernel_.SetHashTable(table_, {kernel_.AddDispatchQueue(9, {task})});
  const uint64_t buckets = kernel_.Get(table_) - FakeKernel::V(0);
  const uint64_t second = buckets + kernel_.types.Offset("bucket_table", "buckets") + 8;
  kernel_.Store<uint64_t>(second, kernel_.Get(second) | 1);

  EXPECT_NE(Find(Read(&kernel_), "user", 9), nullptr);
}

TEST_F(ScxVariablesTest, DisabledSchedulerTellsWhyItEnded) {
  kernel_.Store<uint32_t>(kernel_.SymbolAt("scx_ops_enable_state_var"), 4);
  const uint64_t info = kernel_.Allocate(kernel_.types.Size("scx_exit_info"));
  const uint64_t reason = kernel_.Allocate(32);
  memcpy(&kernel_.bytes()[reason], "runnable task stall", 19);
  kernel_.Set("scx_exit_info", info, "kind", 1026);
  kernel_.Set("scx_exit_info", info, "reason", FakeKernel::V(reason));
  Variable(&kernel_, "scx_exit_info", FakeKernel::V(info));

  const SchedulerView view = Read(&kernel_);

  EXPECT_EQ(view.scx.exit_kind, 1026u);
  EXPECT_THAT(view.scx.queues, IsEmpty());
  EXPECT_EQ(view.scx.watchdog_timeout_jiffies, std::nullopt);
  EXPECT_THAT(ScxText(view), HasSubstr("exit       kind 1026, runnable task stall\n"));
}

TEST_F(ScxVariablesTest, BypassIsSaidOfTheKernelAndOfTheCpu) {
  kernel_.Store<uint32_t>(kernel_.SymbolAt("scx_ops_bypass_depth"), 1);
  kernel_.Set("rq", kernel_.Runqueue(1), "scx.flags", 16);

  const SchedulerView view = Read(&kernel_);

  EXPECT_EQ(view.runqueues[0].bypassing, false);
  EXPECT_EQ(view.runqueues[1].bypassing, true);
  EXPECT_THAT(ScxText(view), HasSubstr("bypass     depth 1"));
  EXPECT_THAT(RunqueuesText(view, {}), HasSubstr("sched_ext bypassed\n"));
}

TEST_F(ScxVariablesTest, WildTableAndListsEndAndAreSaid) {
  const uint64_t task = Runnable(&kernel_, 22, "loop");
  const uint64_t queue = kernel_.AddDispatchQueue(1, {task});
  const uint64_t node = task + kernel_.types.Offset(kTask, "scx.dsq_list.node");
  kernel_.Set("list_head", node, "next", FakeKernel::V(node));
  kernel_.SetHashTable(table_, {queue});
  // The chain leads to itself.
  const uint64_t link = queue + kernel_.types.Offset("scx_dispatch_q", "hash_node");
  kernel_.Store<uint64_t>(link, FakeKernel::V(link));

  const SchedulerView view = Read(&kernel_);

  EXPECT_THAT(Pids(*Find(view, "user", 1)), ElementsAre(22));
  EXPECT_THAT(view.unavailable, Contains(HasSubstr("sched_ext queue 0x1: its list leads in a circle")));
}

TEST_F(ScxVariablesTest, TableOfMoreBucketsThanCanBeIsNotWalked) {
  kernel_.SetHashTable(table_, {});
  const uint64_t buckets = kernel_.Get(table_) - FakeKernel::V(0);
  kernel_.Set("bucket_table", buckets, "size", 0xffffffff);

  EXPECT_THAT(Read(&kernel_).unavailable, Contains(HasSubstr("4294967295 buckets")));
}

// As 7.2 has it.
TEST(ScxObjectTest, QueuesEventsAndBypassAreThoseOfTheObject) {
  FakeKernel kernel(2, {.scx_object = true});
  Variable(&kernel, "scx_enable_state_var", 1);
  const uint64_t scheduler = kernel.Allocate(kernel.types.Size("scx_sched"));
  Variable(&kernel, "scx_root", FakeKernel::V(scheduler));
  memcpy(&kernel.bytes()[scheduler], "object", 6);
  kernel.Set("scx_sched", scheduler, "bypass_depth", 2);
  kernel.Set("scx_sched", scheduler, "watchdog_timeout", 750);
  const uint64_t a = Runnable(&kernel, 31, "a"), b = Runnable(&kernel, 32, "b"),
                 c = Runnable(&kernel, 33, "c");
  kernel.SetHashTable(scheduler + kernel.types.Offset("scx_sched", "dsq_hash"),
                      {kernel.AddDispatchQueue(77, {a})});
  const uint64_t array = kernel.Allocate(8);
  kernel.Store<uint64_t>(array, FakeKernel::V(kernel.AddDispatchQueue(0x8000000000000001, {b})));
  kernel.Set("scx_sched", scheduler, "pnode", FakeKernel::V(array));
  // Its per-CPU part lies as far apart as runqueues do.
  const uint64_t stride = kernel.types.Size("rq");
  const uint64_t part = kernel.Allocate(2 * stride);
  kernel.Set("scx_sched", scheduler, "pcpu", FakeKernel::V(part));
  for (int cpu = 0; cpu < 2; ++cpu) {
    const uint64_t at = part + stride * cpu;
    kernel.Set("scx_sched_pcpu", at, "event_stats.SCX_EV_TWO", 40 + cpu);
    kernel.SetDispatchQueue(at + kernel.types.Offset("scx_sched_pcpu", "bypass_dsq"),
                            0x8000000000000003, cpu == 1 ? std::vector{c} : std::vector<uint64_t>{});
  }
  kernel.Set("scx_sched_pcpu", part + stride, "flags", 1);

  const SchedulerView view = Read(&kernel);

  EXPECT_EQ(view.scx.ops, "object");
  EXPECT_EQ(view.scx.bypass_depth, 2);
  EXPECT_EQ(view.scx.watchdog_timeout_jiffies, 750u);
  EXPECT_THAT(view.scx.events, ElementsAre(Pair("SCX_EV_ONE", 0), Pair("SCX_EV_TWO", 81)));
  EXPECT_EQ(view.runqueues[0].bypassing, false);
  EXPECT_EQ(view.runqueues[1].bypassing, true);
  EXPECT_THAT(Pids(*Find(view, "user", 77)), ElementsAre(31));
  EXPECT_THAT(Pids(*Find(view, "global")), ElementsAre(32));
  const std::string text = ScxText(view);
  EXPECT_THAT(text, HasSubstr("queue bypass of CPU 1: 1 tasks\n"));
  EXPECT_THAT(text, HasSubstr("event      SCX_EV_TWO 81\n"));
  EXPECT_THAT(view.unavailable, IsEmpty());
}

TEST(DispatchQueueNameTest, BuiltInQueuesHaveNames) {
  EXPECT_EQ(DispatchQueueName(0x8000000000000001), "global");
  EXPECT_EQ(DispatchQueueName(0x8000000000000002), "local");
  EXPECT_EQ(DispatchQueueName(0xc000000000000003), "local");
  EXPECT_EQ(DispatchQueueName(0x8000000000000003), "bypass");
  EXPECT_EQ(DispatchQueueName(0x2a), "0x2a");
  EXPECT_EQ(DispatchQueueName(0), "0x0");
}

}  // namespace
}  // namespace stasis
