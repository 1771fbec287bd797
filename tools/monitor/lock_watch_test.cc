#include "tools/monitor/lock_watch.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace stasis {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

// Two CPUs that run something, looked at ten times a second.
class LockWatchTest : public ::testing::Test {
 protected:
  LockWatchTest() {
    sample_.interval = absl::Milliseconds(100);
    for (int cpu = 0; cpu < 2; ++cpu) {
      CpuSample one{.cpu = cpu, .online = true, .idle = false};
      one.pid = 10 + cpu;
      one.comm = "hog";
      one.locked = false;
      one.host_ran = absl::Milliseconds(90);
      sample_.cpus.push_back(one);
    }
  }
  // CPU 1's lock is held at `held` of every ten looks.
  std::vector<LockWatch::Held> Look(int times, int held) {
    std::vector<LockWatch::Held> found;
    for (int i = 0; i < times; ++i) {
      sample_.cpus[1].locked = i % 10 < held;
      for (LockWatch::Held& one : watch_.Add(sample_)) found.push_back(std::move(one));
    }
    return found;
  }

  Sample sample_;
  LockWatch watch_{absl::Seconds(2)};
};

TEST_F(LockWatchTest, LockThatIsHeldAtMostLooksIsFoundOnce) {
  const std::vector<LockWatch::Held> found = Look(100, 8);

  ASSERT_THAT(found, SizeIs(1));
  EXPECT_EQ(found[0].cpu, 1);
  EXPECT_EQ(found[0].looks, 20);
  EXPECT_EQ(found[0].held, 16);
  EXPECT_EQ(found[0].lasted, absl::Seconds(2));
  EXPECT_EQ(found[0].pid, 11);
}

TEST_F(LockWatchTest, LockThatIsSometimesHeldIsNormal) { EXPECT_THAT(Look(1000, 4), IsEmpty()); }

TEST_F(LockWatchTest, ItIsFoundAgainAfterABetterTime) {
  EXPECT_THAT(Look(40, 9), SizeIs(1));
  EXPECT_THAT(Look(40, 0), IsEmpty());
  EXPECT_THAT(Look(40, 9), SizeIs(1));
}

TEST_F(LockWatchTest, ShortTimeIsNotEnoughHoweverOftenItLooks) {
  sample_.interval = absl::Milliseconds(10);
  sample_.cpus[1].host_ran = absl::Milliseconds(10);

  EXPECT_THAT(Look(190, 10), IsEmpty());
  EXPECT_THAT(Look(10, 10), SizeIs(1));
}

TEST_F(LockWatchTest, VirtualCpuThatTheHostStoppedMayHoldIt) {
  sample_.cpus[1].host_ran = absl::Milliseconds(2);

  EXPECT_THAT(Look(1000, 10), IsEmpty());
}

TEST_F(LockWatchTest, TornLooksAndKernelsWithoutTheFieldSayNothing) {
  for (int i = 0; i < 100; ++i) {
    sample_.cpus[1].locked.reset();
    EXPECT_THAT(watch_.Add(sample_), IsEmpty());
  }
}

}  // namespace
}  // namespace stasis
