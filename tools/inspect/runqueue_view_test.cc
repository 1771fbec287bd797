#include "tools/inspect/runqueue_view.h"

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
using ::testing::Not;
using ::testing::SizeIs;

constexpr char kTask[] = "task_struct";
constexpr uint64_t kWeight = 1 << 20;  // of nice 0

class RunqueueViewTest : public ::testing::Test {
 protected:
  SchedulerView Read() {
    kernel_.Finish();
    auto opened = Kernel::Open(&kernel_);
    EXPECT_TRUE(opened.ok()) << opened.status();
    return opened.ok() ? ReadScheduler(**opened) : SchedulerView();
  }
  uint64_t Fair(int pid, const std::string& name, uint64_t vruntime, uint64_t deadline = 0) {
    const uint64_t task = kernel_.AddTask(pid, name);
    kernel_.Set(kTask, task, "on_rq", 1);
    kernel_.Set(kTask, task, "se.on_rq", 1);
    kernel_.Set(kTask, task, "se.load.weight", kWeight);
    kernel_.Set(kTask, task, "se.vruntime", vruntime);
    kernel_.Set(kTask, task, "se.deadline", deadline);
    return task;
  }
  uint64_t NodeOf(uint64_t task, const char* path) {
    return task + kernel_.types.Offset(kTask, path);
  }
  static std::vector<int> Pids(const std::vector<FairEntity>& entities) {
    std::vector<int> pids;
    for (const FairEntity& entity : entities) pids.push_back(entity.pid);
    return pids;
  }

  FakeKernel kernel_{2, {.eevdf = true}};
};

TEST_F(RunqueueViewTest, FairTreeIsReadTheLeftmostFirst) {
  std::vector<uint64_t> entities;
  std::vector<int> pids;
  for (int i = 0; i < 37; ++i) {
    entities.push_back(kernel_.Entity(Fair(100 + i, "worker", 1000 * i, 5000 + 1000 * i)));
    pids.push_back(100 + i);
  }
  kernel_.SetFairQueue(kernel_.FairQueue(1), entities);

  const SchedulerView view = Read();

  EXPECT_THAT(view.runqueues[0].queues.fair, IsEmpty());
  EXPECT_EQ(Pids(view.runqueues[1].queues.fair), pids);
  EXPECT_EQ(view.runqueues[1].queues.fair[3].vruntime_ns, 3000u);
  EXPECT_EQ(view.runqueues[1].queues.fair[3].deadline_ns, 8000u);
  EXPECT_EQ(view.runqueues[1].queues.fair[3].weight, kWeight);
  EXPECT_THAT(view.unavailable, IsEmpty());
}

TEST_F(RunqueueViewTest, CurrentTaskOutsideOfTheTreeComesFirstAndCountsForTheLag) {
  const uint64_t running = Fair(7, "running", 4000);
  const uint64_t waiting = Fair(8, "waiting", 1000);
  kernel_.SetFairQueue(kernel_.FairQueue(0), {kernel_.Entity(waiting)});
  kernel_.Set("cfs_rq", kernel_.FairQueue(0), "curr", FakeKernel::V(kernel_.Entity(running)));

  const SchedulerView view = Read();

  const auto& fair = view.runqueues[0].queues.fair;
  EXPECT_THAT(Pids(fair), ElementsAre(7, 8));
  EXPECT_TRUE(fair[0].current);
  // The mean of 4000 and 1000 is 2500.
  EXPECT_EQ(fair[0].lag_ns, -1500);
  EXPECT_EQ(fair[1].lag_ns, 1500);
}

TEST_F(RunqueueViewTest, LagIsWeightedAndRoundedAsTheKernelDoes) {
  const uint64_t light = Fair(1, "light", 10);
  const uint64_t heavy = Fair(2, "heavy", 20);
  kernel_.Set(kTask, heavy, "se.load.weight", 2 * kWeight);
  kernel_.SetFairQueue(kernel_.FairQueue(0), {kernel_.Entity(light), kernel_.Entity(heavy)});

  const SchedulerView view = Read();

  // (10 + 2 * 20) / 3 = 16 2/3, rounded down.
  EXPECT_EQ(view.runqueues[0].queues.fair[0].lag_ns, 6);
  EXPECT_EQ(view.runqueues[0].queues.fair[1].lag_ns, -4);
}

TEST_F(RunqueueViewTest, GroupsAreFollowedByWhatIsInThem) {
  const uint64_t outer_task = Fair(20, "outer", 5);
  const uint64_t inner_task = Fair(21, "inner", 6);
  const uint64_t plain = Fair(22, "plain", 7);
  const uint64_t inner = kernel_.AddGroup("inner", {kernel_.Entity(inner_task)});
  const uint64_t outer = kernel_.AddGroup("outer", {kernel_.Entity(outer_task), inner});
  kernel_.SetFairQueue(kernel_.FairQueue(0), {outer, kernel_.Entity(plain)});

  const SchedulerView view = Read();

  const auto& fair = view.runqueues[0].queues.fair;
  ASSERT_THAT(Pids(fair), ElementsAre(0, 20, 0, 21, 22));
  EXPECT_EQ(fair[0].group, "/outer");
  EXPECT_EQ(fair[0].queued, 2u);
  EXPECT_EQ(fair[1].depth, 1);
  EXPECT_EQ(fair[2].group, "/inner");
  EXPECT_EQ(fair[3].depth, 2);
  EXPECT_EQ(fair[4].depth, 0);
  EXPECT_THAT(RunqueuesText(view, {}),
              HasSubstr("     fair  /outer, 2 queued, weight 0, vruntime 0 us, deadline +0 us, "
                        "lag +0 us\n     fair    outer (pid 20), weight 1024"));
}

TEST_F(RunqueueViewTest, ThrottledGroupIsFoundThoughItIsInNoTree) {
  const uint64_t task = Fair(30, "capped", 5);
  const uint64_t entity = kernel_.AddGroup("capped", {kernel_.Entity(task)});
  const uint64_t queue = kernel_.GroupQueue(entity);
  const uint64_t group =
      kernel_.Get(queue + kernel_.types.Offset("cfs_rq", "tg")) - FakeKernel::V(0);
  const uint64_t array = kernel_.Allocate(16), head = kernel_.Allocate(16);
  kernel_.Store<uint64_t>(array + 8, FakeKernel::V(queue));  // of CPU 1
  kernel_.Set("task_group", group, "cfs_rq", FakeKernel::V(array));
  kernel_.Set("task_group", group, "cfs_bandwidth.quota", 10'000'000);
  kernel_.Set("cfs_rq", queue, "throttled", 1);
  kernel_.Set("cfs_rq", queue, "throttle_count", 1);
  kernel_.SetList(head, {group + kernel_.types.Offset("task_group", "list")});
  kernel_.Symbol("task_groups", head);

  const SchedulerView view = Read();

  const auto& fair = view.runqueues[1].queues.fair;
  ASSERT_THAT(Pids(fair), ElementsAre(0, 30));
  EXPECT_EQ(fair[0].group, "/capped");
  EXPECT_TRUE(fair[0].throttled);
  EXPECT_TRUE(fair[1].throttled);
  EXPECT_THAT(view.runqueues[0].queues.fair, IsEmpty());
  EXPECT_THAT(RunqueuesText(view, {}), HasSubstr("fair  /capped, 1 queued, THROTTLED\n"));
}

TEST_F(RunqueueViewTest, RealTimeQueuesAreReadByPriority) {
  const uint64_t low = kernel_.AddTask(50, "low"), first = kernel_.AddTask(51, "first"),
                 second = kernel_.AddTask(52, "second");
  const uint64_t array = kernel_.Runqueue(0) + kernel_.types.Offset("rq", "rt.active");
  const uint64_t queue = array + kernel_.types.Offset("rt_prio_array", "queue");
  kernel_.SetList(queue + 8 * (99 - 10), {NodeOf(low, "rt.run_list")});
  kernel_.SetList(queue + 8 * (99 - 80), {NodeOf(first, "rt.run_list"), NodeOf(second, "rt.run_list")});
  kernel_.Store<uint64_t>(array, uint64_t{1} << (99 - 80));
  kernel_.Store<uint64_t>(array + 8, uint64_t{1} << (99 - 10 - 64));
  kernel_.Set("rq", kernel_.Runqueue(0), "curr", FakeKernel::V(first));

  const SchedulerView view = Read();

  const auto& queued = view.runqueues[0].queues.real_time;
  ASSERT_THAT(queued, SizeIs(3));
  EXPECT_EQ(queued[0].pid, 51);
  EXPECT_EQ(queued[0].priority, 80);
  EXPECT_TRUE(queued[0].current);
  EXPECT_EQ(queued[1].pid, 52);
  EXPECT_FALSE(queued[1].current);
  EXPECT_EQ(queued[2].priority, 10);
  EXPECT_THAT(RunqueuesText(view, {}), HasSubstr("     rt 80 *first (pid 51)\n"));
}

TEST_F(RunqueueViewTest, DeadlineTreeHoldsTasksAndServers) {
  const uint64_t task = kernel_.AddTask(60, "sensor");
  const uint64_t server = kernel_.Runqueue(0) + kernel_.types.Offset("rq", "fair_server");
  kernel_.Set(kTask, task, "dl.deadline", 3'000'000);
  kernel_.Set(kTask, task, "dl.runtime", static_cast<uint64_t>(-500'000));
  kernel_.Set("sched_dl_entity", server, "dl_server", 1);
  kernel_.Set("rq", kernel_.Runqueue(0), "clock", 1'000'000);
  kernel_.SetTree(kernel_.Runqueue(0) + kernel_.types.Offset("rq", "dl.root.rb_root"),
                  {NodeOf(task, "dl.rb_node"), server});

  const SchedulerView view = Read();

  const auto& queued = view.runqueues[0].queues.deadline;
  ASSERT_THAT(queued, SizeIs(2));
  EXPECT_EQ(queued[0].pid, 60);
  EXPECT_EQ(queued[0].runtime_ns, -500'000);
  EXPECT_TRUE(queued[1].server);
  EXPECT_EQ(queued[1].comm, "fair_server");
  EXPECT_THAT(RunqueuesText(view, {}),
              HasSubstr("dl    sensor (pid 60), +2.0 ms to its deadline, -500 us of run time left"));
}

TEST_F(RunqueueViewTest, DomainsAreReadFromTheSmallestOnWithSpansThatHaveTheirWeight) {
  const uint64_t size = kernel_.types.Size("sched_domain");
  const uint64_t inner = kernel_.Allocate(size + 8), outer = kernel_.Allocate(size + 8);
  const uint64_t name = kernel_.Allocate(8);
  kernel_.Store<uint16_t>(name, 'M' | 'C' << 8);
  kernel_.Set("sched_domain", inner, "name", FakeKernel::V(name));
  kernel_.Set("sched_domain", inner, "parent", FakeKernel::V(outer));
  kernel_.Set("sched_domain", inner, "flags", 0x21);
  kernel_.Set("sched_domain", inner, "span_weight", 1);
  kernel_.Store<uint64_t>(inner + size, 1);
  kernel_.Set("sched_domain", outer, "level", 1);
  kernel_.Set("sched_domain", outer, "span_weight", 2);
  kernel_.Store<uint64_t>(outer + size, 3);
  kernel_.Set("rq", kernel_.Runqueue(0), "sd", FakeKernel::V(inner));

  const SchedulerView view = Read();

  const auto& domains = view.runqueues[0].queues.domains;
  ASSERT_THAT(domains, SizeIs(2));
  EXPECT_EQ(domains[0].name, "MC");
  EXPECT_EQ(domains[0].span, "0");
  EXPECT_EQ(domains[0].flags, 0x21u);
  EXPECT_EQ(domains[1].span, "0-1");
  EXPECT_EQ(domains[1].level, 1);
  EXPECT_THAT(RunqueuesText(view, {}), HasSubstr("domains of CPU 0: MC 0, level 1 0-1\n"));
}

TEST_F(RunqueueViewTest, DomainWhoseSpanIsNotOfItsWeightIsSaid) {
  const uint64_t domain = kernel_.Allocate(kernel_.types.Size("sched_domain") + 8);
  kernel_.Set("sched_domain", domain, "span_weight", 5);
  kernel_.Set("rq", kernel_.Runqueue(0), "sd", FakeKernel::V(domain));

  const SchedulerView view = Read();

  EXPECT_EQ(view.runqueues[0].queues.domains[0].span, "");
  EXPECT_THAT(view.unavailable, Contains(HasSubstr("does not have its weight")));
}

TEST_F(RunqueueViewTest, IdleTimeIsByTheFurthestClock) {
  kernel_.Set("rq", kernel_.Runqueue(0), "clock", 9'000'000'000);
  kernel_.Set("rq", kernel_.Runqueue(1), "clock", 2'000'000'000);  // stands still
  kernel_.Set("rq", kernel_.Runqueue(1), "idle_stamp", 2'000'000'000);
  kernel_.Set("rq", kernel_.Runqueue(1), "curr", FakeKernel::V(kernel_.init()));
  kernel_.Set("rq", kernel_.Runqueue(1), "idle", FakeKernel::V(kernel_.init()));

  const SchedulerView view = Read();

  EXPECT_FALSE(view.runqueues[0].idle);
  EXPECT_EQ(view.runqueues[0].idle_ns, std::nullopt);
  EXPECT_TRUE(view.runqueues[1].idle);
  EXPECT_EQ(view.runqueues[1].idle_ns, 7'000'000'000u);
  EXPECT_THAT(RunqueuesText(view, {}), HasSubstr("swapper/0 (pid 0), idle for 7.00 s"));
}

TEST_F(RunqueueViewTest, LocksAndWhetherSomebodyWaitsForThemAreShown) {
  kernel_.Set("rq", kernel_.Runqueue(0), "__lock.raw_lock.val.counter", 0x40001);
  kernel_.Set("rq", kernel_.Runqueue(1), "__lock.raw_lock.val.counter", 1);

  const SchedulerView view = Read();

  EXPECT_THAT(RunqueuesText(view, {.cpu = 0}), HasSubstr(", runqueue locked and waited for\n"));
  EXPECT_THAT(RunqueuesText(view, {.cpu = 1}), HasSubstr(", runqueue locked\n"));
  const nlohmann::json runqueues = ToJson(view)["runqueues"];
  EXPECT_EQ(runqueues[0]["lock"], (nlohmann::json{{"held", true}, {"contended", true}}));
  EXPECT_EQ(runqueues[1]["lock"], (nlohmann::json{{"held", true}, {"contended", false}}));
}

TEST_F(RunqueueViewTest, CpuWithTheLongestWaitComesFirst) {
  kernel_.Set("rq", kernel_.Runqueue(1), "clock", 9'000'000'000);
  const uint64_t starved = Fair(70, "starved", 1);
  kernel_.Set(kTask, starved, "thread_info.cpu", 1);
  kernel_.Set(kTask, starved, "sched_info.last_queued", 2'000'000'000);
  kernel_.SetFairQueue(kernel_.FairQueue(1), {kernel_.Entity(starved)});

  const std::string text = RunqueuesText(Read(), {});

  EXPECT_LT(text.find("\n  1  "), text.find("\n  0  ")) << text;
  EXPECT_THAT(text, HasSubstr("starved (pid 70), weight 1024, vruntime 0 us, deadline -0 us, lag +0 us, "
                              "waiting 7.00 s\n"));
}

TEST_F(RunqueueViewTest, FilterShowsGroupsOfTheTasksThatItLetsThrough) {
  const uint64_t mine = Fair(80, "mine", 1), other = Fair(81, "other", 2);
  kernel_.MoveToCgroup(mine, kernel_.AddCgroup("left", kernel_.root_cgroup()));
  const uint64_t left = kernel_.AddGroup("left", {kernel_.Entity(mine)});
  const uint64_t right = kernel_.AddGroup("right", {kernel_.Entity(other)});
  kernel_.SetFairQueue(kernel_.FairQueue(0), {left, right});

  const std::string text = RunqueuesText(Read(), {.cpu = {}, .states = "", .cgroup = "/left"});

  EXPECT_THAT(text, HasSubstr("/left, 1 queued"));
  EXPECT_THAT(text, HasSubstr("mine (pid 80)"));
  EXPECT_THAT(text, Not(HasSubstr("/right")));
  EXPECT_THAT(text, Not(HasSubstr("other (pid 81)")));
}

TEST_F(RunqueueViewTest, TreeThatLeadsInACircleEndsAndIsSaid) {
  const uint64_t first = Fair(90, "first", 1), second = Fair(91, "second", 2);
  kernel_.SetFairQueue(kernel_.FairQueue(0), {kernel_.Entity(first), kernel_.Entity(second)});
  kernel_.Set("rb_node", NodeOf(first, "se.run_node"), "rb_right",
              FakeKernel::V(NodeOf(second, "se.run_node")));

  const SchedulerView view = Read();

  EXPECT_THAT(Pids(view.runqueues[0].queues.fair), Contains(91));
  EXPECT_THAT(view.unavailable, Contains(HasSubstr("fair queues: a tree leads in a circle")));
}

TEST_F(RunqueueViewTest, GroupThatIsItsOwnMemberEndsAndIsSaid) {
  const uint64_t entity = kernel_.AddGroup("loop", {});
  kernel_.SetFairQueue(kernel_.GroupQueue(entity), {entity});
  kernel_.SetFairQueue(kernel_.FairQueue(0), {entity});

  const SchedulerView view = Read();

  EXPECT_THAT(view.runqueues[0].queues.fair, SizeIs(2));
  EXPECT_THAT(view.unavailable, Contains(HasSubstr("groups lead in a circle")));
}

TEST_F(RunqueueViewTest, WildPointersInQueuesEndThem) {
  const uint64_t rq = kernel_.Runqueue(0);
  kernel_.Store<uint64_t>(rq + kernel_.types.Offset("rq", "cfs.tasks_timeline.rb_root"),
                          0x1234567890abcdef);
  kernel_.Store<uint64_t>(rq + kernel_.types.Offset("rq", "dl.root.rb_root"), 0x10);
  kernel_.Store<uint64_t>(rq + kernel_.types.Offset("rq", "rt.active.bitmap"), ~uint64_t{0});
  kernel_.Set("rq", rq, "sd", 0xffffffffffffff00);

  const SchedulerView view = Read();

  EXPECT_THAT(view.runqueues, SizeIs(2));
  EXPECT_THAT(view.unavailable, Contains(HasSubstr("fair queues: a tree leads out of memory")));
  EXPECT_THAT(view.unavailable, Contains(HasSubstr("deadline queues: a tree leads out of memory")));
  EXPECT_THAT(view.unavailable, Contains(HasSubstr("real-time queues: a list leads out of memory")));
}

TEST(CpuListTest, RangesAreShortened) {
  EXPECT_EQ(CpuList({0b1001111}, 64), "0-3,6");
  EXPECT_EQ(CpuList({uint64_t{1} << 63, 1}, 128), "63-64");
  EXPECT_EQ(CpuList({~uint64_t{0}}, 2), "0-1");
  EXPECT_EQ(CpuList({}, 8), "");
}

}  // namespace
}  // namespace stasis
