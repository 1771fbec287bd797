#include "tools/monitor/scheduler_sampler.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tools/inspect/testing/fake_kernel.h"

namespace stasis {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr char kTask[] = "task_struct";

class SchedulerSamplerTest : public ::testing::Test {
 protected:
  SchedulerSampler& Sampler() {
    if (sampler_ == nullptr) {
      kernel_.Finish();
      auto opened = Kernel::Open(&kernel_);
      EXPECT_TRUE(opened.ok()) << opened.status();
      opened_ = *std::move(opened);
      auto sampler = SchedulerSampler::Create(opened_.get());
      EXPECT_TRUE(sampler.ok()) << sampler.status();
      sampler_ = *std::move(sampler);
    }
    return *sampler_;
  }
  void Queue(uint64_t task, int cpu) {
    kernel_.Set(kTask, task, "on_rq", 1);
    kernel_.Set(kTask, task, "thread_info.cpu", cpu);
    const uint64_t mask = kernel_.Allocate(8);
    kernel_.Store<uint64_t>(mask, 3);
    kernel_.Set(kTask, task, "cpus_ptr", FakeKernel::V(mask));
  }
  void Run(uint64_t task, int cpu) {
    kernel_.Set("rq", kernel_.Runqueue(cpu), "curr", FakeKernel::V(task));
    kernel_.Set("rq", kernel_.Runqueue(cpu), "nr_running", 1);
    kernel_.Set(kTask, task, "on_rq", 1);
    kernel_.Set(kTask, task, "on_cpu", 1);
  }

  FakeKernel kernel_{2};
  std::unique_ptr<Kernel> opened_;
  std::unique_ptr<SchedulerSampler> sampler_;
};

TEST_F(SchedulerSamplerTest, CpusAndWhoWaitsForThemAreRead) {
  const uint64_t hog = kernel_.AddTask(5, "hog"), waiter = kernel_.AddTask(6, "waiter");
  kernel_.AddTask(7, "sleeper");
  Run(hog, 1);
  Run(kernel_.init(), 0);
  kernel_.Set("rq", kernel_.Runqueue(1), "clock", 9000);
  kernel_.Set(kTask, hog, "policy", 1);
  kernel_.Set(kTask, hog, "rt_priority", 20);
  Queue(waiter, 1);
  kernel_.Set(kTask, waiter, "sched_info.last_queued", 2000);
  kernel_.Set(kTask, waiter, "se.sum_exec_runtime", 77);
  kernel_.MoveToCgroup(waiter, kernel_.AddCgroup("left", kernel_.root_cgroup()));

  // Pending waiters are no holder.
  kernel_.Set("rq", kernel_.Runqueue(0), "__lock.raw_lock.val.counter", 0x10100);
  kernel_.Set("rq", kernel_.Runqueue(1), "__lock.raw_lock.val.counter", 0x40001);

  const Sample sample = Sampler().Read();

  EXPECT_FALSE(sample.tasks_torn);
  EXPECT_EQ(sample.cpus[0].locked, false);
  EXPECT_EQ(sample.cpus[1].locked, true);
  EXPECT_EQ(sample.all_tasks, 3u);
  ASSERT_THAT(sample.cpus, SizeIs(2));
  EXPECT_TRUE(sample.cpus[0].idle);
  EXPECT_FALSE(sample.cpus[1].idle);
  EXPECT_EQ(sample.cpus[1].pid, 5);
  EXPECT_EQ(sample.cpus[1].comm, "hog");
  EXPECT_EQ(sample.cpus[1].policy, Policy::kFifo);
  EXPECT_EQ(sample.cpus[1].waiting, 1u);
  ASSERT_THAT(sample.tasks, SizeIs(1));
  const TaskSample& task = sample.tasks[0];
  EXPECT_EQ(task.pid, 6);
  EXPECT_EQ(task.comm, "waiter");
  EXPECT_EQ(task.cgroup, "/left");
  EXPECT_EQ(task.cpu, 1);
  EXPECT_EQ(task.run_ns, 77u);
  EXPECT_EQ(task.queued_ns, 7000u);
  EXPECT_EQ(task.allowed.ToString(), "0-1");
  EXPECT_FALSE(sample.scx.built_in);
}

TEST_F(SchedulerSamplerTest, ThreadsOfAProcessAreFound) {
  const uint64_t leader = kernel_.AddTask(5, "leader");
  Queue(kernel_.AddThreadTo(leader, 6, "thread"), 0);
  Run(kernel_.init(), 0);
  Run(kernel_.init(), 1);

  const Sample sample = Sampler().Read();

  ASSERT_THAT(sample.tasks, SizeIs(1));
  EXPECT_EQ(sample.tasks[0].pid, 6);
  EXPECT_EQ(sample.tasks[0].tgid, 5);
}

TEST_F(SchedulerSamplerTest, NextSampleSeesWhatHasChanged) {
  const uint64_t task = kernel_.AddTask(5, "task");
  Run(kernel_.init(), 0);
  Run(kernel_.init(), 1);
  EXPECT_THAT(Sampler().Read().tasks, IsEmpty());

  Queue(task, 0);

  EXPECT_THAT(Sampler().Read().tasks, SizeIs(1));
}

TEST_F(SchedulerSamplerTest, ListThatLeadsInACircleIsATornWalkThatEnds) {
  const uint64_t first = kernel_.AddTask(40, "first"), second = kernel_.AddTask(41, "second");
  kernel_.Set(kTask, second, "tasks.next",
              FakeKernel::V(first + kernel_.types.Offset(kTask, "tasks.next")));

  const Sample sample = Sampler().Read();

  EXPECT_TRUE(sample.tasks_torn);
  EXPECT_THAT(sample.tasks, IsEmpty());
}

TEST_F(SchedulerSamplerTest, WildPointersAreTornAndHarmless) {
  const uint64_t task = kernel_.AddTask(50, "wild");
  for (const char* pointer : {"tasks.next", "signal", "cpus_ptr", "cgroups", "thread_node.next"}) {
    kernel_.Set(kTask, task, pointer, 0x1234567890abcdef);
  }
  kernel_.Set(kTask, task, "on_rq", 1);
  kernel_.Set("rq", kernel_.Runqueue(0), "curr", 0xffffffffffffffff);

  const Sample sample = Sampler().Read();

  EXPECT_TRUE(sample.tasks_torn);
  EXPECT_TRUE(sample.cpus[0].torn);
}

TEST_F(SchedulerSamplerTest, WaiterWithoutReadableMaskAndCgroupIsStillOne) {
  const uint64_t task = kernel_.AddTask(50, "bare");
  Queue(task, 1);
  Run(kernel_.init(), 0);
  Run(kernel_.init(), 1);
  kernel_.Set(kTask, task, "cpus_ptr", 0x1234567890abcdef);
  kernel_.Set(kTask, task, "cgroups", 0x1234567890abcdef);

  const Sample sample = Sampler().Read();

  ASSERT_THAT(sample.tasks, SizeIs(1));
  EXPECT_TRUE(sample.tasks[0].allowed.empty());
}

TEST_F(SchedulerSamplerTest, TaskOnACpuThatIsNotThereIsDropped) {
  Queue(kernel_.AddTask(50, "far"), 77);
  Run(kernel_.init(), 0);

  const Sample sample = Sampler().Read();

  EXPECT_THAT(sample.tasks, IsEmpty());
  EXPECT_EQ(sample.raced, 1u);
}

}  // namespace
}  // namespace stasis
