#include "tools/harness/guest_end.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace stasis {
namespace {

using testing::HasSubstr;

GuestEndFacts Machine(EndKind kind, GuestPhase phase) {
  GuestEndFacts facts;
  facts.phase = phase;
  facts.machine_end.kind = kind;
  facts.machine_end.vcpu = 2;
  return facts;
}

const ConsoleAlarm kPanicAlarm{ConsoleAlarmKind::kPanic, "Kernel panic - not syncing: test"};

TEST(GuestEndTest, PowerOffAndRestartBehindTheResultAreGood) {
  EXPECT_FALSE(JudgeGuestEnd(Machine(EndKind::kPowerOff, GuestPhase::kEnding)).has_value());
  EXPECT_FALSE(JudgeGuestEnd(Machine(EndKind::kReset, GuestPhase::kEnding)).has_value());
}

TEST(GuestEndTest, PlainBootMayEndAsItLikes) {
  EXPECT_FALSE(JudgeGuestEnd(Machine(EndKind::kPowerOff, GuestPhase::kPlain)).has_value());
  EXPECT_FALSE(JudgeGuestEnd(Machine(EndKind::kReset, GuestPhase::kPlain)).has_value());
}

TEST(GuestEndTest, PanicOfAPlainBootIsAFailure) {
  GuestEndFacts facts = Machine(EndKind::kReset, GuestPhase::kPlain);
  facts.panic = kPanicAlarm;

  std::optional<Finding> finding = JudgeGuestEnd(facts);

  ASSERT_TRUE(finding.has_value());
  EXPECT_EQ(FirstLine(*finding), "FAIL: boot: Kernel panic - not syncing: test");
}

TEST(GuestEndTest, RestartDuringTheRunBlamesTheScheduler) {
  std::optional<Finding> finding = JudgeGuestEnd(Machine(EndKind::kReset, GuestPhase::kRunning));

  ASSERT_TRUE(finding.has_value());
  EXPECT_EQ(finding->verdict, Verdict::kFail);
  EXPECT_EQ(finding->layer, Layer::kScheduler);
  EXPECT_THAT(finding->what, HasSubstr("during the run"));
}

TEST(GuestEndTest, PanicOnTheConsoleExplainsTheRestart) {
  GuestEndFacts facts = Machine(EndKind::kReset, GuestPhase::kRunning);
  facts.panic = kPanicAlarm;

  EXPECT_EQ(JudgeGuestEnd(facts)->what, "Kernel panic - not syncing: test");
}

TEST(GuestEndTest, PanicEvenBehindTheResultIsAFailure) {
  GuestEndFacts facts = Machine(EndKind::kPowerOff, GuestPhase::kEnding);
  facts.panic = kPanicAlarm;

  EXPECT_TRUE(JudgeGuestEnd(facts).has_value());
}

TEST(GuestEndTest, TripleFaultNamesTheVcpu) {
  std::optional<Finding> finding =
      JudgeGuestEnd(Machine(EndKind::kTripleFault, GuestPhase::kBooting));

  EXPECT_EQ(finding->layer, Layer::kBoot);
  EXPECT_THAT(finding->what, HasSubstr("triple fault on vCPU 2"));
}

TEST(GuestEndTest, KvmsOwnTroubleIsTheHosts) {
  for (EndKind kind :
       {EndKind::kInternalError, EndKind::kFailEntry, EndKind::kUnknownExit, EndKind::kHostError}) {
    std::optional<Finding> finding = JudgeGuestEnd(Machine(kind, GuestPhase::kRunning));

    EXPECT_EQ(finding->verdict, Verdict::kError);
    EXPECT_EQ(finding->layer, Layer::kHost);
  }
}

TEST(GuestEndTest, SilentHangSaysThatTheConsoleIsEmpty) {
  GuestEndFacts facts;
  facts.cause = EndCause::kBootLimit;
  facts.limit = absl::Seconds(60);

  EXPECT_EQ(FirstLine(*JudgeGuestEnd(facts)),
            "FAIL: boot: the agent did not say hello within 60 s; its console is empty; see the "
            "whole boot with --verbose");
}

TEST(GuestEndTest, LostHeartbeatQuotesTheSoftLockup) {
  GuestEndFacts facts;
  facts.cause = EndCause::kHeartbeatLost;
  facts.phase = GuestPhase::kRunning;
  facts.limit = absl::Seconds(20);
  facts.alarm = ConsoleAlarm{ConsoleAlarmKind::kSoftLockup, "watchdog: BUG: soft lockup - CPU#1"};

  EXPECT_EQ(FirstLine(*JudgeGuestEnd(facts)),
            "FAIL: scheduler: the guest hangs: no heartbeat for 20 s during the run; console: "
            "watchdog: BUG: soft lockup - CPU#1");
}

TEST(GuestEndTest, InterruptionHasItsOwnExitCode) {
  GuestEndFacts facts;
  facts.cause = EndCause::kInterrupted;
  facts.detail = "SIGINT";

  EXPECT_EQ(JudgeGuestEnd(facts)->exit_code(), 130);
}

}  // namespace
}  // namespace stasis
