#include "tools/harness/startup_trace.h"

#include <string>

#include "gtest/gtest.h"

namespace stasis {
namespace {

TEST(StartupTraceTest, MarksKeepTheirOrderAndCpuTimeNeverFalls) {
  MarkStartup("one");
  MarkStartup("two");

  const std::vector<StartupStage> stages = StartupStages();

  ASSERT_EQ(stages.size(), 2u);
  EXPECT_STREQ(stages[0].finished, "one");
  EXPECT_STREQ(stages[1].finished, "two");
  EXPECT_LE(stages[0].at, stages[1].at);
  EXPECT_GT(stages[0].cpu, absl::ZeroDuration());
  EXPECT_LE(stages[0].cpu, stages[1].cpu);
}

TEST(StartupTraceTest, TooManyMarksKeepTheFirstOnes) {
  for (int i = 0; i < 100; ++i) MarkStartup("again");

  const std::vector<StartupStage> stages = StartupStages();

  EXPECT_EQ(stages.size(), 16u);
}

}  // namespace
}  // namespace stasis
