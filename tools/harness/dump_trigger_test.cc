// Each trigger has its own name (docs/dump-format.md).
#include "tools/harness/dump_trigger.h"

#include <gtest/gtest.h>

namespace stasis {
namespace {

GuestEndFacts MachineEnded(EndKind kind) {
  GuestEndFacts facts;
  facts.cause = EndCause::kMachine;
  facts.phase = GuestPhase::kRunning;
  facts.machine_end = {.kind = kind, .vcpu = 1, .message = "message"};
  return facts;
}

std::string KindOf(const GuestEndFacts& facts) {
  return TriggerOf(facts, JudgeGuestEnd(facts)).kind;
}

GuestEndFacts Ended(EndCause cause) {
  GuestEndFacts facts;
  facts.cause = cause;
  facts.phase = GuestPhase::kRunning;
  return facts;
}

TEST(DumpTriggerTest, EveryEndOfAMachineHasItsName) {
  EXPECT_EQ(KindOf(MachineEnded(EndKind::kPanic)), "guest-panic");
  EXPECT_EQ(KindOf(MachineEnded(EndKind::kTripleFault)), "triple-fault");
  EXPECT_EQ(KindOf(MachineEnded(EndKind::kInternalError)), "kvm-internal-error");
  EXPECT_EQ(KindOf(MachineEnded(EndKind::kFailEntry)), "kvm-fail-entry");
  EXPECT_EQ(KindOf(MachineEnded(EndKind::kUnknownExit)), "unknown-exit");
  EXPECT_EQ(KindOf(MachineEnded(EndKind::kHostError)), "host-error");
  EXPECT_EQ(KindOf(MachineEnded(EndKind::kReset)), "guest-ended");
}

TEST(DumpTriggerTest, RestartAfterAPanicOnTheConsoleIsAPanicOfTheVcpuThatRestarted) {
  GuestEndFacts facts = MachineEnded(EndKind::kReset);
  facts.panic = ConsoleAlarm{ConsoleAlarmKind::kPanic, "Kernel panic - not syncing: sysrq"};

  const DumpTrigger trigger = TriggerOf(facts, JudgeGuestEnd(facts));

  EXPECT_EQ(trigger.kind, "guest-panic");
  EXPECT_EQ(trigger.source, "console");
  EXPECT_EQ(trigger.message, "Kernel panic - not syncing: sysrq");
  EXPECT_EQ(trigger.vcpu, 1);
}

TEST(DumpTriggerTest, EveryLimitHasItsName) {
  EXPECT_EQ(KindOf(Ended(EndCause::kBootLimit)), "boot-limit");
  EXPECT_EQ(KindOf(Ended(EndCause::kTimeLimit)), "time-limit");
  EXPECT_EQ(KindOf(Ended(EndCause::kEndLimit)), "end-limit");
  EXPECT_EQ(KindOf(Ended(EndCause::kProtocol)), "agent-error");
  EXPECT_EQ(KindOf(Ended(EndCause::kPanicked)), "guest-panic");
}

TEST(DumpTriggerTest, SilenceOfAMachineThatSpinsIsAStallElseALostHeartbeat) {
  GuestEndFacts facts = Ended(EndCause::kHeartbeatLost);
  EXPECT_EQ(KindOf(facts), "heartbeat-lost");

  facts.spinning = "all 2 CPUs run with interrupts off";

  EXPECT_EQ(KindOf(facts), "guest-stall");
  EXPECT_NE(TriggerOf(facts, JudgeGuestEnd(facts)).message.find("interrupts off"),
            std::string::npos);
}

TEST(DumpTriggerTest, HungCpuIsNamed) {
  GuestEndFacts facts = Ended(EndCause::kCpuHang);
  facts.hung_cpu = 3;

  const DumpTrigger trigger = TriggerOf(facts, JudgeGuestEnd(facts));

  EXPECT_EQ(trigger.kind, "cpu-hang");
  EXPECT_EQ(trigger.vcpu, 3);
  EXPECT_NE(trigger.message.find("CPU 3 hangs"), std::string::npos) << trigger.message;
}

TEST(DumpTriggerTest, DumpIsWantedOnFailureOnlyUnlessAlways) {
  GuestEndFacts good = MachineEnded(EndKind::kPowerOff);
  good.phase = GuestPhase::kEnding;
  const GuestEndFacts bad = MachineEnded(EndKind::kTripleFault);

  EXPECT_FALSE(WantsDump(DumpWhen::kOnFail, good, JudgeGuestEnd(good)));
  EXPECT_TRUE(WantsDump(DumpWhen::kAlways, good, JudgeGuestEnd(good)));
  EXPECT_TRUE(WantsDump(DumpWhen::kOnFail, bad, JudgeGuestEnd(bad)));
  EXPECT_FALSE(WantsDump(DumpWhen::kNever, bad, JudgeGuestEnd(bad)));
}

TEST(DumpTriggerTest, OfTheSignalsOnlySigquitDumps) {
  GuestEndFacts facts = Ended(EndCause::kInterrupted);
  facts.detail = "SIGINT";
  EXPECT_FALSE(WantsDump(DumpWhen::kOnFail, facts, JudgeGuestEnd(facts)));

  facts.detail = "SIGQUIT";

  EXPECT_TRUE(WantsDump(DumpWhen::kOnFail, facts, JudgeGuestEnd(facts)));
  EXPECT_EQ(KindOf(facts), "interrupted");
}

std::vector<VcpuSnapshot> Cpus(std::vector<bool> interrupts_off) {
  std::vector<VcpuSnapshot> cpus;
  for (bool off : interrupts_off) {
    cpus.push_back({.index = static_cast<int>(cpus.size()),
                    .registers_json = "{\"mp_state\":\"runnable\"}",
                    .program_counter = 0xffffffff81000000,
                    .interrupts_off = off});
  }
  return cpus;
}

TEST(DumpTriggerTest, SpinningIsWhatBothSnapshotsShow) {
  EXPECT_EQ(DescribeSpinning(Cpus({true, true}), Cpus({true, true})),
            "all 2 CPUs run with interrupts off (CPU 0 at 0xffffffff81000000, CPU 1 at "
            "0xffffffff81000000)");
  EXPECT_EQ(DescribeSpinning(Cpus({true, true}), Cpus({false, true})),
            "1 of 2 CPUs run with interrupts off (CPU 1 at 0xffffffff81000000)");
  EXPECT_EQ(DescribeSpinning(Cpus({true, false}), Cpus({false, true})), "");
}

TEST(DumpTriggerTest, WhenIsParsed) {
  EXPECT_EQ(ParseDumpWhen("always").value(), DumpWhen::kAlways);
  EXPECT_TRUE(absl::IsInvalidArgument(ParseDumpWhen("sometimes").status()));
}

}  // namespace
}  // namespace stasis
