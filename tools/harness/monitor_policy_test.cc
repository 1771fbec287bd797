#include "tools/harness/monitor_policy.h"

#include "gtest/gtest.h"

namespace stasis {
namespace {

MonitorFinding Found(Severity severity, FindingKind kind = FindingKind::kTaskStall) {
  MonitorFinding finding;
  finding.kind = kind;
  finding.severity = severity;
  return finding;
}

TEST(MonitorPolicyTest, LimitsAreTheDefaultsUnlessTheScenarioAllowsMore) {
  Scenario scenario;
  EXPECT_EQ(LimitsFor(scenario, MonitorLimits()).stall, absl::Seconds(3));

  scenario.expect.max_gap = absl::Seconds(1);
  EXPECT_EQ(LimitsFor(scenario, MonitorLimits()).stall, absl::Seconds(3));

  scenario.expect.max_gap = absl::Seconds(20);
  EXPECT_EQ(LimitsFor(scenario, MonitorLimits()).stall, absl::Seconds(20));
}

TEST(MonitorPolicyTest, StallIsAFailureUnlessTheScenarioIsThereToShowOne) {
  Scenario scenario;
  EXPECT_FALSE(IsLegal(scenario, Found(Severity::kFailure)));

  for (const char* reason : {"stall", "scheduler", "runtime_error", "max_gap", "max_stall"}) {
    scenario.expect.should_fail = reason;
    EXPECT_TRUE(IsLegal(scenario, Found(Severity::kFailure))) << reason;
  }
  scenario.expect.should_fail = "isolation";
  EXPECT_FALSE(IsLegal(scenario, Found(Severity::kFailure)));
}

TEST(MonitorPolicyTest, ConfinedTasksAreNewsOnlyIfTheScenarioDidNotConfineThem) {
  Scenario scenario;
  scenario.cgroups.emplace_back();
  EXPECT_FALSE(IsLegal(scenario, Found(Severity::kNote, FindingKind::kImbalance)));

  scenario.cgroups[0].cpus = "0";

  EXPECT_TRUE(IsLegal(scenario, Found(Severity::kNote, FindingKind::kImbalance)));
  EXPECT_FALSE(IsLegal(scenario, Found(Severity::kWarning, FindingKind::kImbalance)));
}

}  // namespace
}  // namespace stasis
