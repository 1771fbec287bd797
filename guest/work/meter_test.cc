#include "guest/work/meter.h"

#include <sched.h>

#include <algorithm>

#include "gtest/gtest.h"
#include "guest/work/clock.h"

namespace stasis::work {
namespace {

TEST(MeterTest, SleepIsCountedAsAWakeUp) {
  WorkerSlot slot;
  Meter meter(&slot);
  meter.SleepUntil(NowNs() + 1000000);
  meter.SleepUntil(NowNs() - 1000000);

  EXPECT_EQ(slot.wakeup.Read().count(), 2u);
  EXPECT_GE(slot.wakeup.Read().Quantile(1), 1000000u);
}

TEST(MeterTest, WaitingForAPartnerIsNoGapButTheTimeSinceItsWakeUpIs) {
  WorkerSlot slot;
  slot.wants_cpu_since_ns.store(NowNs());
  Meter meter(&slot);
  meter.BeginWait();
  slot.max_gap_ns.store(0);
  while (NowNs() - slot.waits_since_ns.load() < 50000000) {
  }
  StampWakeUp(&slot);
  const uint64_t stamp = slot.wants_cpu_since_ns.load();
  while (NowNs() - stamp < 5000000) {
  }

  meter.EndWait();

  EXPECT_EQ(slot.gap_at_ns.load(), stamp);
  EXPECT_EQ(slot.max_gap_ns.load(), slot.wants_cpu_since_ns.load() - stamp);
  EXPECT_EQ(slot.wakeup.Read().count(), 1u);
  EXPECT_GE(slot.wakeup.Read().Quantile(1), 5000000u);
}

TEST(MeterTest, WaitThatNobodyEndedCountsNothing) {
  WorkerSlot slot;
  slot.wants_cpu_since_ns.store(NowNs());
  Meter meter(&slot);
  meter.BeginWait(kWaitsForDevice);
  slot.max_gap_ns.store(0);
  StampWakeUp(&slot);
  EXPECT_EQ(slot.wants_cpu_since_ns.load(), kWaitsForDevice) << "a device is no partner";

  meter.EndWait();

  EXPECT_EQ(slot.max_gap_ns.load(), 0u);
  EXPECT_TRUE(slot.wakeup.Read().empty());
}

TEST(MeterTest, StampDoesNotTouchAWorkerThatRuns) {
  WorkerSlot slot;
  Meter meter(&slot);
  const uint64_t seen = meter.Tick();
  StampWakeUp(&slot);

  EXPECT_EQ(slot.wants_cpu_since_ns.load(), seen);
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
