#include "tools/harness/time_line.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace stasis {
namespace {

using testing::HasSubstr;

TEST(TimeLineTest, StepHasItsActualTimeAndWhatItDid) {
  const std::string text = TimeLineText({{.index = 0,
                                          .what = "set_cpus left to half:1",
                                          .planned_ns = 2000000000,
                                          .began_ns = 2001500000,
                                          .ended_ns = 2004000000}});

  EXPECT_THAT(text, HasSubstr("  2.002 s    1.5 ms    2.5 ms  set_cpus left to half:1\n"));
}

TEST(TimeLineTest, FailureStandsBelowItsStep) {
  const std::string text = TimeLineText({{.what = "run /bin/false", .error = "exit\ncode 1"}});

  EXPECT_THAT(text, HasSubstr("failed: exit code 1\n"));
}

TEST(TimeLineTest, TimesThatRunBackwardsAreNoTrouble) {
  EXPECT_THAT(TimeLineText({{.planned_ns = 9, .began_ns = 5, .ended_ns = 1}}), HasSubstr("0.0 ms"));
}

TEST(TimeLineTest, NoStepsNoText) { EXPECT_EQ(TimeLineText({}), ""); }

TEST(TimeLineTest, LineOfADumpCountsFromOne) {
  EXPECT_EQ(StepLine({.index = 1, .what = "thaw_cgroup a", .began_ns = 1500000000}, 3),
            "step 2 of 3 at 1.500 s: thaw_cgroup a");
}

}  // namespace
}  // namespace stasis
