#include "tools/harness/cpu_watch.h"

#include <gtest/gtest.h>

namespace stasis {
namespace {

// Two vCPUs: the first is idle, the second busy.
class Clock {
 public:
  // True: the second one is to be looked at.
  bool Second(CpuWatch& watch, absl::Duration used = absl::Seconds(1)) {
    threads_[1].ran += used;
    return watch.Tick(threads_) == std::vector<int>{1};
  }

 private:
  std::vector<ThreadSchedule> threads_{2};
};

TEST(CpuWatchTest, CpuWithInterruptsOffAtEveryLookIsHung) {
  CpuWatch watch(absl::Seconds(20));
  Clock clock;
  int looks = 0;
  for (int second = 0; second < 60 && !watch.Suspect(1).has_value(); ++second) {
    if (!clock.Second(watch)) continue;
    ++looks;
    watch.Look(1, {.interrupts_off = true});
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
    watch.Look(1, {.interrupts_off = true});
  }

  EXPECT_EQ(watch.Suspect(0.5), 1);
  EXPECT_FALSE(watch.Suspect(1).has_value());
}

TEST(CpuWatchTest, OneLookWithInterruptsOnBeginsAnew) {
  CpuWatch watch(absl::Seconds(20));
  Clock clock;
  for (int second = 0, looks = 0; second < 100; ++second) {
    if (!clock.Second(watch)) continue;
    watch.Look(1, {.interrupts_off = ++looks % 5 != 0});
    EXPECT_FALSE(watch.Suspect(1).has_value());
  }
}

TEST(CpuWatchTest, HaltedCpuIsNotHung) {
  CpuWatch watch(absl::Seconds(20));
  Clock clock;
  for (int second = 0; second < 100; ++second) {
    if (!clock.Second(watch)) continue;
    watch.Look(1, {.interrupts_off = true, .waiting = true});
    EXPECT_FALSE(watch.Suspect(1).has_value());
  }
}

// A vCPU that does not answer (a freeze, a system call) is not judged.
TEST(CpuWatchTest, LookThatBringsNothingChangesNothing) {
  CpuWatch watch(absl::Seconds(20));
  Clock clock;
  for (int looks = 0; looks < 6;) {
    if (clock.Second(watch)) watch.Look(1, {.interrupts_off = ++looks > 0});
  }

  while (!clock.Second(watch)) {
  }

  EXPECT_FALSE(watch.Suspect(1).has_value());
}

TEST(CpuWatchTest, LookAtNoSuchCpuIsIgnored) {
  CpuWatch watch(absl::Seconds(20));

  watch.Look(7, {.interrupts_off = true});
  watch.Look(-1, {.interrupts_off = true});

  EXPECT_FALSE(watch.Suspect(0).has_value());
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
