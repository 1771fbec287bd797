#include "tools/stasis/scheduler_options.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace stasis {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class SchedulerOptionsTest : public testing::Test {
 protected:
  SchedulerOptionsTest() {
    scenario_.name = "s";
    scenario_.scheduler = SchedulerSpec{.name = "scx_broken", .args = {"lose"}, .ops = "broken"};
  }
  std::optional<Finding> Take() { return TakeScheduler(options_, &scenario_, &request_, &note_); }

  SchedulerOptions options_;
  Scenario scenario_;
  GuestRequest request_;
  std::string note_;
};

TEST_F(SchedulerOptionsTest, ScenariosSchedulerIsTakenWithoutANote) {
  EXPECT_FALSE(Take().has_value());

  EXPECT_EQ(note_, "");
  ASSERT_EQ(request_.schedulers.size(), 1u);
  EXPECT_EQ(request_.schedulers[0].name, "scx_broken");
  EXPECT_THAT(request_.required_config, ElementsAre("SCHED_CLASS_EXT"));
}

TEST_F(SchedulerOptionsTest, ScenarioWithoutOneNeedsNothing) {
  scenario_.scheduler.reset();

  EXPECT_FALSE(Take().has_value());
  EXPECT_TRUE(request_.schedulers.empty());
  EXPECT_TRUE(request_.required_config.empty());
}

TEST_F(SchedulerOptionsTest, CommandLineWinsAndSaysSo) {
  options_.scheduler = "scx_simple";
  options_.args = {"-f"};

  EXPECT_FALSE(Take().has_value());
  EXPECT_EQ(CommandOf(*scenario_.scheduler), "scx_simple -f");
  EXPECT_EQ(scenario_.scheduler->ops, "") << "that was the other one's";
  EXPECT_EQ(note_, "scx_simple -f by the command line, in place of the scenario's scx_broken lose");
}

TEST_F(SchedulerOptionsTest, ArgumentsAloneAreForTheScenariosScheduler) {
  options_.args = {"burn"};

  EXPECT_FALSE(Take().has_value());
  EXPECT_EQ(CommandOf(*scenario_.scheduler), "scx_broken burn");
  EXPECT_EQ(scenario_.scheduler->ops, "broken");
}

TEST_F(SchedulerOptionsTest, ArgumentsWithoutASchedulerAreUsage) {
  scenario_.scheduler.reset();
  options_.args = {"-f"};

  ASSERT_TRUE(Take().has_value());
  EXPECT_EQ(Take()->verdict, Verdict::kUsage);
}

TEST_F(SchedulerOptionsTest, NoneIsTheKernelsOwn) {
  options_.scheduler = "none";

  EXPECT_FALSE(Take().has_value());
  EXPECT_FALSE(scenario_.scheduler.has_value());
  EXPECT_THAT(note_, HasSubstr("the kernel's own scheduler by the command line"));
}

TEST_F(SchedulerOptionsTest, NoneIsRefusedWhereTheSchedulerShouldFail) {
  options_.scheduler = "none";
  scenario_.expect.should_fail = "stall";

  ASSERT_TRUE(Take().has_value());
  EXPECT_EQ(Take()->verdict, Verdict::kUsage);
}

TEST_F(SchedulerOptionsTest, PathIsCheckedAtOnce) {
  options_.scheduler = "/no/such/scheduler";

  const std::optional<Finding> finding = Take();

  ASSERT_TRUE(finding.has_value());
  EXPECT_EQ(finding->verdict, Verdict::kUsage);
  EXPECT_THAT(finding->what, HasSubstr("/no/such/scheduler: No such file or directory"));
}

TEST(BehindDashesTest, ArgumentsAreSplitAtTheFirstDashes) {
  const char* words[] = {"stasis", "run", "x", "--", "-f", "--", "y"};
  int argc = 7;

  const auto behind = TakeBehindDashes(&argc, const_cast<char**>(words));

  EXPECT_EQ(argc, 3);
  ASSERT_TRUE(behind.has_value());
  EXPECT_THAT(*behind, ElementsAre("-f", "--", "y"));
}

TEST(BehindDashesTest, WithoutDashesNothingIsTaken) {
  const char* words[] = {"stasis", "run", "x"};
  int argc = 3;

  EXPECT_FALSE(TakeBehindDashes(&argc, const_cast<char**>(words)).has_value());
  EXPECT_EQ(argc, 3);
}

}  // namespace
}  // namespace stasis
