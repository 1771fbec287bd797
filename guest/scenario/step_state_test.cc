#include "guest/scenario/step_state.h"

#include "gtest/gtest.h"

namespace stasis {
namespace {

class StepStateTest : public testing::Test {
 protected:
  StepStateTest() {
    groups_.online = *CpuSet::Parse("0-3");
    groups_.llcs = {*CpuSet::Parse("0-1"), *CpuSet::Parse("2-3")};
    groups_.nodes = {groups_.online};
    scenario_.cgroups = {{.name = "a", .cpus = "0-2"},
                         {.name = "a/b", .cpus = "1-3", .work = {{.name = "w"}}},
                         {.name = "c"}};
    state_.emplace(scenario_, &groups_);
  }
  void Do(Action action) {
    const absl::Status status = state_->Apply(action);
    EXPECT_TRUE(status.ok()) << status;
  }
  std::string CpusOf(const std::string& cgroup) { return state_->CpusOf(cgroup).ToString(); }

  CpuGroups groups_;
  Scenario scenario_;
  std::optional<StepState> state_;
};

TEST_F(StepStateTest, CgroupHasWhatItsParentLeavesIt) {
  EXPECT_EQ(CpusOf("a/b"), "1-2");
  EXPECT_EQ(CpusOf("c"), "0-3");
}

TEST_F(StepStateTest, UnpluggedCpusAreGoneAndComeBack) {
  Do({.kind = ActionKind::kUnplugCpus, .cpus = "1-2"});
  EXPECT_EQ(CpusOf("a"), "0");
  EXPECT_EQ(CpusOf("c"), "0,3");

  Do({.kind = ActionKind::kPlugCpus, .cpus = "1"});
  EXPECT_EQ(CpusOf("a/b"), "1");
}

TEST_F(StepStateTest, CgroupWhoseCpusAreAllGoneHasItsParents) {
  Do({.kind = ActionKind::kUnplugCpus, .cpus = "1-2"});

  EXPECT_EQ(CpusOf("a/b"), "0");
}

TEST_F(StepStateTest, AffinityCountsInsideOfTheCgroup) {
  EXPECT_EQ(state_->CpusOf("a", "2-3").ToString(), "2");
  EXPECT_EQ(state_->CpusOf("a", "3").ToString(), "0-2");  // as the kernel has it: all
}

TEST_F(StepStateTest, FreezingGoesDownTheTree) {
  Do({.kind = ActionKind::kFreezeCgroup, .target = "a"});
  EXPECT_TRUE(state_->IsFrozen("a/b"));
  EXPECT_FALSE(state_->IsFrozen("c"));

  Do({.kind = ActionKind::kThawCgroup, .target = "a"});
  EXPECT_FALSE(state_->IsFrozen("a/b"));
}

TEST_F(StepStateTest, WorkIsWhereItWasMovedUntilThatIsRemoved) {
  Do({.kind = ActionKind::kMoveWork, .target = "w", .to = "c"});
  EXPECT_EQ(state_->PlaceOf(1, 0), "c");

  Do({.kind = ActionKind::kRemoveCgroup, .target = "c"});
  EXPECT_EQ(state_->PlaceOf(1, 0), "");

  Do({.kind = ActionKind::kStartWork, .target = "w"});
  EXPECT_EQ(state_->PlaceOf(1, 0), "a/b");
}

TEST_F(StepStateTest, RefusedActionChangesNothing) {
  EXPECT_FALSE(state_->Apply({.kind = ActionKind::kSetCpus, .target = "a/b", .cpus = "3"}).ok());
  EXPECT_EQ(CpusOf("a/b"), "1-2");

  EXPECT_FALSE(state_->Apply({.kind = ActionKind::kSetCpus, .target = "a", .cpus = "0"}).ok());
  EXPECT_EQ(CpusOf("a"), "0-2");
}

}  // namespace
}  // namespace stasis
