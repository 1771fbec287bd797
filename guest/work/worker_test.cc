#include "guest/work/worker.h"

#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#include <functional>
#include <thread>

#include "gtest/gtest.h"
#include "guest/work/clock.h"

namespace stasis::work {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

// Waits for something that another process does; the limit only ends a test that would hang.
bool Eventually(const std::function<bool()>& condition) {
  const uint64_t limit = NowNs() + 20000000000u;
  while (!condition()) {
    if (NowNs() > limit) return false;
    std::this_thread::yield();
  }
  return true;
}

int ExitOf(pid_t pid) {
  int status = 0;
  waitpid(pid, &status, 0);
  return status;
}

class WorkerTest : public testing::TestWithParam<WorkKind> {
 protected:
  void SetUp() override {
    arena_ = *SlotArena::Create(1);
    spec_.kind = GetParam();
    spec_.run = absl::Milliseconds(1);
    spec_.sleep = absl::Milliseconds(1);
  }

  std::unique_ptr<SlotArena> arena_;
  WorkSpec spec_;
};

TEST_P(WorkerTest, WorksFromGoToStopAndReports) {
  WorkerSlot& slot = arena_->slot(0);
  auto pid = ForkWorker(spec_, &arena_->control(), &slot);
  ASSERT_TRUE(pid.ok()) << pid.status();

  arena_->Go();
  const bool worked = Eventually([&] { return slot.iterations.load(kRelaxed) >= 50; });
  arena_->control().stop.store(true);
  const int status = ExitOf(*pid);

  EXPECT_TRUE(worked);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  EXPECT_TRUE(slot.started.load());
  EXPECT_GT(slot.run_ns.load(), 0u);
  uint64_t cpus = 0;
  for (const auto& word : slot.cpus_used) cpus |= word.load();
  EXPECT_NE(cpus, 0u);
}

TEST_P(WorkerTest, DoesNothingBeforeGo) {
  WorkerSlot& slot = arena_->slot(0);
  auto pid = ForkWorker(spec_, &arena_->control(), &slot);
  ASSERT_TRUE(pid.ok()) << pid.status();

  // "S" in its stat: it sleeps in the futex.
  const std::string stat_path = "/proc/" + std::to_string(*pid) + "/stat";
  const bool asleep = Eventually([&] {
    FILE* file = fopen(stat_path.c_str(), "r");
    char state = '?';
    const bool read = file != nullptr && fscanf(file, "%*d (%*[^)]) %c", &state) == 1;
    if (file != nullptr) fclose(file);
    return read && state == 'S';
  });

  EXPECT_TRUE(asleep);
  EXPECT_EQ(slot.iterations.load(), 0u);
  EXPECT_FALSE(slot.started.load());
  kill(*pid, SIGKILL);
  ExitOf(*pid);
}

INSTANTIATE_TEST_SUITE_P(AllKinds, WorkerTest,
                         testing::Values(WorkKind::kCpuSpin, WorkKind::kBursty, WorkKind::kYield),
                         [](const auto& info) { return fields::NameOf(info.param); });

TEST(MeterTest, StoppedWorkerShowsAGapThatGrows) {
  auto arena = *SlotArena::Create(1);
  WorkerSlot& slot = arena->slot(0);
  auto pid = ForkWorker(WorkSpec{}, &arena->control(), &slot);
  ASSERT_TRUE(pid.ok()) << pid.status();
  arena->Go();
  ASSERT_TRUE(Eventually([&] { return slot.iterations.load(kRelaxed) > 0; }));

  kill(*pid, SIGSTOP);
  int status;
  waitpid(*pid, &status, WUNTRACED);
  const uint64_t since = slot.wants_cpu_since_ns.load();
  const uint64_t stopped_at = NowNs();
  ASSERT_TRUE(Eventually([&] { return NowNs() - stopped_at > 20000000; }));
  EXPECT_EQ(slot.wants_cpu_since_ns.load(), since) << "nobody may report for a stopped worker";
  const uint64_t continued_at = NowNs();
  kill(*pid, SIGCONT);
  ASSERT_TRUE(Eventually([&] { return slot.wants_cpu_since_ns.load(kRelaxed) > continued_at; }));

  EXPECT_GE(slot.max_gap_ns.load(), continued_at - since);
  kill(*pid, SIGKILL);
  ExitOf(*pid);
}

TEST(MeterTest, SleepingIsNoGap) {
  WorkerSlot slot;
  slot.wants_cpu_since_ns.store(NowNs());
  Meter meter(&slot);
  meter.Tick();
  const uint64_t before = slot.max_gap_ns.load();
  const uint64_t deadline = NowNs() + 50000000;

  meter.SleepUntil(deadline);

  const uint64_t late = slot.wants_cpu_since_ns.load() - deadline;
  EXPECT_EQ(slot.max_gap_ns.load(), std::max(before, late));
}

TEST(MeterTest, EveryMoveToAnotherCpuCounts) {
  cpu_set_t all, one;
  ASSERT_EQ(sched_getaffinity(0, sizeof(all), &all), 0);
  if (CPU_COUNT(&all) < 2) GTEST_SKIP() << "needs two CPUs";
  WorkerSlot slot;
  Meter meter(&slot);
  uint32_t visited = 0;

  for (int cpu = 0; cpu < CPU_SETSIZE && visited < 2; ++cpu) {
    if (!CPU_ISSET(cpu, &all)) continue;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    ASSERT_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
    meter.Tick();
    ++visited;
  }
  sched_setaffinity(0, sizeof(all), &all);

  EXPECT_EQ(slot.migrations.load(), 1u);
}

}  // namespace
}  // namespace stasis::work
