#include "tools/harness/cpu_watch.h"

#include <gtest/gtest.h>

namespace stasis {
namespace {

// Two vCPUs: the first is idle, the second busy; `off` are the second's interrupts.
class Clock {
 public:
  bool Second(CpuWatch& watch, absl::Duration used = absl::Seconds(1)) {
    threads_[1].ran += used;
    return watch.Tick(threads_);
  }

 private:
  std::vector<ThreadSchedule> threads_{2};
};

std::vector<VcpuSnapshot> Cpus(bool off) {
  std::vector<VcpuSnapshot> cpus(2);
  cpus[1].interrupts_off = off;
  cpus[0].interrupts_off = off;  // an idle one may have them off as well
  cpus[0].waiting = true;
  return cpus;
}

TEST(CpuWatchTest, CpuWithInterruptsOffAtEveryLookIsHung) {
  CpuWatch watch(absl::Seconds(20));
  Clock clock;
  int looks = 0;
  for (int second = 0; second < 60 && !watch.Suspect(1).has_value(); ++second) {
    if (!clock.Second(watch)) continue;
    ++looks;
    watch.Look(Cpus(true));
  }

  EXPECT_EQ(watch.Suspect(1), 1);
  EXPECT_EQ(looks, 7);  // 21 s
}

TEST(CpuWatchTest, IsSuspectedBeforeItIsHung) {
  CpuWatch watch(absl::Seconds(20));
  Clock clock;
  for (int looks = 0; looks < 4;) {
    if (!clock.Second(watch)) continue;
    ++looks;
    watch.Look(Cpus(true));
  }

  EXPECT_EQ(watch.Suspect(0.5), 1);
  EXPECT_FALSE(watch.Suspect(1).has_value());
}

TEST(CpuWatchTest, OneLookWithInterruptsOnBeginsAnew) {
  CpuWatch watch(absl::Seconds(20));
  Clock clock;
  for (int second = 0, looks = 0; second < 100; ++second) {
    if (!clock.Second(watch)) continue;
    watch.Look(Cpus(++looks % 5 != 0));
    EXPECT_FALSE(watch.Suspect(1).has_value());
  }
}

TEST(CpuWatchTest, MachineThatIsNotBusyIsNeverLookedAt) {
  CpuWatch watch(absl::Seconds(20));
  Clock clock;
  for (int second = 0; second < 100; ++second) {
    EXPECT_FALSE(clock.Second(watch, absl::Milliseconds(300)));
  }
}

}  // namespace
}  // namespace stasis
