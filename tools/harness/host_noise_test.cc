#include "tools/harness/host_noise.h"

#include <sys/syscall.h>
#include <unistd.h>

#include "absl/time/clock.h"
#include "gtest/gtest.h"

namespace stasis {
namespace {

absl::Time At(int ms) { return absl::UnixEpoch() + absl::Milliseconds(ms); }

std::vector<ThreadSchedule> Delays(int first_ms, int second_ms) {
  return {{absl::ZeroDuration(), absl::Milliseconds(first_ms), 0},
          {absl::ZeroDuration(), absl::Milliseconds(second_ms), 0}};
}

HostNoise Example() {
  HostNoise noise;
  noise.AddSample(At(0), Delays(0, 0));
  noise.AddSample(At(100), Delays(0, 10));
  noise.AddSample(At(200), Delays(90, 10));
  noise.AddSample(At(300), Delays(95, 10));
  return noise;
}

TEST(HostNoiseTest, SchedstatIsParsed) {
  std::optional<ThreadSchedule> schedule = ParseSchedstat("12345 678 9\n");

  ASSERT_TRUE(schedule.has_value());
  EXPECT_EQ(schedule->ran, absl::Nanoseconds(12345));
  EXPECT_EQ(schedule->run_delay, absl::Nanoseconds(678));
}

TEST(HostNoiseTest, OtherTextIsNoSchedstat) {
  EXPECT_FALSE(ParseSchedstat("").has_value());
  EXPECT_FALSE(ParseSchedstat("1 2").has_value());
  EXPECT_FALSE(ParseSchedstat("a b c").has_value());
}

TEST(HostNoiseTest, InvoluntarySwitchesAreFoundAmongTheLines) {
  EXPECT_EQ(ParseInvoluntarySwitches(
                "Name:\tx\nvoluntary_ctxt_switches:\t7\nnonvoluntary_ctxt_switches:\t42\n"),
            42u);
  EXPECT_FALSE(ParseInvoluntarySwitches("Name:\tx\n").has_value());
}

TEST(HostNoiseTest, ThreadThatDoesNotExistGivesNothing) {
  EXPECT_FALSE(ReadThreadSchedule(0x7ffffff0).has_value());
}

TEST(HostNoiseTest, OwnThreadHasRun) {
  // The kernel adds up a thread's time at ticks and switches; a young thread has had neither.
  absl::SleepFor(absl::Milliseconds(1));

  std::optional<ThreadSchedule> own = ReadThreadSchedule(syscall(SYS_gettid));
  if (!own.has_value()) GTEST_SKIP() << "the host kernel has no /proc/PID/schedstat";

  EXPECT_GT(own->ran, absl::ZeroDuration());
}

TEST(HostNoiseTest, WindowInsideSamplesIsWidenedToThem) {
  HostNoise noise = Example();

  EXPECT_EQ(noise.DelayOf(0, At(120), At(180)), absl::Milliseconds(90));
  EXPECT_EQ(noise.DelayOf(1, At(120), At(180)), absl::ZeroDuration());
}

TEST(HostNoiseTest, WindowOverAllSamplesGivesTheWholeDelay) {
  HostNoise noise = Example();

  EXPECT_EQ(noise.DelayOf(0, At(-500), At(9000)), absl::Milliseconds(95));
  EXPECT_EQ(noise.MaxDelay(At(0), At(100)), absl::Milliseconds(10));
}

// Two samples of an idle vCPU, two seconds apart, between which the sampler did `ran` and `waited`.
HostNoise LateBy2s(absl::Duration ran, absl::Duration waited, absl::Duration vcpu_waited) {
  HostNoise noise;
  noise.AddSample(At(0), {{}}, ThreadSchedule{});
  noise.AddSample(At(100), {{}}, ThreadSchedule{});
  noise.AddSample(At(2200), {{absl::ZeroDuration(), vcpu_waited}}, ThreadSchedule{ran, waited});
  return noise;
}

TEST(HostNoiseTest, HostThatStoodStillDelaysAVcpuThatRan) {
  HostNoise noise = LateBy2s(absl::Milliseconds(1), absl::Milliseconds(1), absl::ZeroDuration());

  EXPECT_EQ(noise.DelayOf(0, At(500), At(1500)), absl::Milliseconds(1998));
  EXPECT_EQ(noise.DelayOf(0, At(0), At(100)), absl::ZeroDuration());
}

TEST(HostNoiseTest, DelayWhileTheHostStoodStillIsNotCountedTwice) {
  HostNoise noise = LateBy2s(absl::ZeroDuration(), absl::ZeroDuration(), absl::Milliseconds(2050));

  EXPECT_EQ(noise.DelayOf(0, At(0), At(3000)), absl::Milliseconds(2050));
}

TEST(HostNoiseTest, SamplerThatWaitedForACpuExplainsItsLateness) {
  HostNoise noise = LateBy2s(absl::ZeroDuration(), absl::Milliseconds(1990), absl::ZeroDuration());

  EXPECT_EQ(noise.DelayOf(0, At(0), At(3000)), absl::ZeroDuration());
}

TEST(HostNoiseTest, SamplerThatWasAtWorkExplainsItsLateness) {
  HostNoise noise = LateBy2s(absl::Milliseconds(1990), absl::ZeroDuration(), absl::ZeroDuration());

  EXPECT_EQ(noise.DelayOf(0, At(0), At(3000)), absl::ZeroDuration());
}

TEST(HostNoiseTest, WithoutSamplesThereIsNoDelay) {
  HostNoise noise;

  EXPECT_EQ(noise.MaxDelay(At(0), At(100)), absl::ZeroDuration());
  EXPECT_TRUE(noise.Totals().empty());
}

TEST(HostNoiseTest, TotalsAreDifferencesOfLastAndFirst) {
  HostNoise noise;
  noise.AddSample(At(0), {{absl::Seconds(5), absl::Seconds(1), 3}});
  noise.AddSample(At(100), {{absl::Seconds(7), absl::Seconds(2), 10}});

  ASSERT_EQ(noise.Totals().size(), 1u);
  EXPECT_EQ(noise.Totals()[0].ran, absl::Seconds(2));
  EXPECT_EQ(noise.Totals()[0].run_delay, absl::Seconds(1));
  EXPECT_EQ(noise.Totals()[0].involuntary_switches, 7u);
}

}  // namespace
}  // namespace stasis
