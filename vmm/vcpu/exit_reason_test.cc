#include "vmm/vcpu/exit_reason.h"

#include <gtest/gtest.h>

namespace stasis {
namespace {

TEST(ExitReasonTest, NamesFollowTheUapiNumbers) {
  EXPECT_EQ(ExitReasonName(KVM_EXIT_MMIO), "KVM_EXIT_MMIO");
  EXPECT_EQ(ExitReasonName(KVM_EXIT_INTERNAL_ERROR), "KVM_EXIT_INTERNAL_ERROR");
  EXPECT_EQ(ExitReasonName(KVM_EXIT_IOAPIC_EOI), "KVM_EXIT_IOAPIC_EOI");
  EXPECT_EQ(ExitReasonName(KVM_EXIT_NOTIFY), "KVM_EXIT_NOTIFY");
  EXPECT_EQ(ExitReasonName(1000), "KVM_EXIT_1000");
}

TEST(ExitReasonTest, InternalErrorCarriesItsDataAndIgnoresACountBeyondTheArray) {
  kvm_run run = {};
  run.exit_reason = KVM_EXIT_INTERNAL_ERROR;
  run.internal.suberror = KVM_INTERNAL_ERROR_EMULATION;
  run.internal.ndata = 1000;
  run.internal.data[0] = 0xabc;
  const MachineEnd end = FatalExit(run);
  EXPECT_EQ(end.kind, EndKind::kInternalError);
  EXPECT_NE(end.message.find("instruction emulation failed (suberror 1) 0xabc"), std::string::npos);
}

TEST(ExitReasonTest, SystemEventsMapToTheGuestsIntent) {
  kvm_run run = {};
  run.exit_reason = KVM_EXIT_SYSTEM_EVENT;
  run.system_event.type = KVM_SYSTEM_EVENT_RESET;
  EXPECT_EQ(FatalExit(run).kind, EndKind::kReset);
  run.system_event.type = KVM_SYSTEM_EVENT_CRASH;
  EXPECT_EQ(FatalExit(run).kind, EndKind::kPanic);
}

TEST(ExitReasonTest, ReasonWithoutAHandlerIsNamed) {
  kvm_run run = {};
  run.exit_reason = KVM_EXIT_HYPERV;
  const MachineEnd end = FatalExit(run);
  EXPECT_EQ(end.kind, EndKind::kUnknownExit);
  EXPECT_EQ(end.message, "KVM_EXIT_HYPERV: not handled");
}

TEST(ExitReasonTest, EveryEndHasANameOfItsOwn) {
  EXPECT_EQ(EndKindName(EndKind::kTripleFault), "triple-fault");
  EXPECT_EQ(EndKindName(EndKind::kPanic), "panic");
  EXPECT_NE(EndKindName(EndKind::kFailEntry), EndKindName(EndKind::kUnknownExit));
}

}  // namespace
}  // namespace stasis
