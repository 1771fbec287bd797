#include "vmm/vcpu/exit_reason.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace stasis {
namespace {

// Indexed by exit reason (<linux/kvm.h>, KVM_EXIT_*).
constexpr const char* kNames[] = {
    "KVM_EXIT_UNKNOWN",
    "KVM_EXIT_EXCEPTION",
    "KVM_EXIT_IO",
    "KVM_EXIT_HYPERCALL",
    "KVM_EXIT_DEBUG",
    "KVM_EXIT_HLT",
    "KVM_EXIT_MMIO",
    "KVM_EXIT_IRQ_WINDOW_OPEN",
    "KVM_EXIT_SHUTDOWN",
    "KVM_EXIT_FAIL_ENTRY",
    "KVM_EXIT_INTR",
    "KVM_EXIT_SET_TPR",
    "KVM_EXIT_TPR_ACCESS",
    "KVM_EXIT_S390_SIEIC",
    "KVM_EXIT_S390_RESET",
    "KVM_EXIT_DCR",
    "KVM_EXIT_NMI",
    "KVM_EXIT_INTERNAL_ERROR",
    "KVM_EXIT_OSI",
    "KVM_EXIT_PAPR_HCALL",
    "KVM_EXIT_S390_UCONTROL",
    "KVM_EXIT_WATCHDOG",
    "KVM_EXIT_S390_TSCH",
    "KVM_EXIT_EPR",
    "KVM_EXIT_SYSTEM_EVENT",
    "KVM_EXIT_S390_STSI",
    "KVM_EXIT_IOAPIC_EOI",
    "KVM_EXIT_HYPERV",
    "KVM_EXIT_ARM_NISV",
    "KVM_EXIT_X86_RDMSR",
    "KVM_EXIT_X86_WRMSR",
    "KVM_EXIT_DIRTY_RING_FULL",
    "KVM_EXIT_AP_RESET_HOLD",
    "KVM_EXIT_X86_BUS_LOCK",
    "KVM_EXIT_XEN",
    "KVM_EXIT_RISCV_SBI",
    "KVM_EXIT_RISCV_CSR",
    "KVM_EXIT_NOTIFY",
};
static_assert(std::size(kNames) == KVM_EXIT_NOTIFY + 1);

MachineEnd InternalError(const kvm_run& run) {
  const auto& internal = run.internal;
  const char* what = "unknown suberror";
  if (internal.suberror == KVM_INTERNAL_ERROR_EMULATION) what = "instruction emulation failed";
  if (internal.suberror == KVM_INTERNAL_ERROR_SIMUL_EX) what = "exceptions at the same time";
  if (internal.suberror == KVM_INTERNAL_ERROR_DELIVERY_EV) what = "event delivery failed";
  if (internal.suberror == KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON) {
    what = "unexpected exit of the hardware";
  }
  MachineEnd end{.kind = EndKind::kInternalError};
  end.message =
      absl::StrFormat("KVM_EXIT_INTERNAL_ERROR: %s (suberror %d)", what, internal.suberror);
  const uint32_t count = std::min<uint32_t>(internal.ndata, std::size(internal.data));
  for (uint32_t i = 0; i < count; ++i)
    absl::StrAppendFormat(&end.message, " %#x", internal.data[i]);
  return end;
}

MachineEnd SystemEvent(const kvm_run& run) {
  const uint32_t type = run.system_event.type;
  const std::string message = absl::StrFormat("KVM_EXIT_SYSTEM_EVENT type %d", type);
  switch (type) {
    case KVM_SYSTEM_EVENT_SHUTDOWN:
      return {.kind = EndKind::kPowerOff, .message = message};
    case KVM_SYSTEM_EVENT_RESET:
      return {.kind = EndKind::kReset, .message = message};
    case KVM_SYSTEM_EVENT_CRASH:
      return {.kind = EndKind::kPanic, .message = message};
    default:
      return {.kind = EndKind::kUnknownExit, .message = message};
  }
}

}  // namespace

absl::string_view EndKindName(EndKind kind) {
  switch (kind) {
    case EndKind::kPowerOff:
      return "power-off";
    case EndKind::kReset:
      return "reset";
    case EndKind::kPanic:
      return "panic";
    case EndKind::kTripleFault:
      return "triple-fault";
    case EndKind::kInternalError:
      return "kvm-internal-error";
    case EndKind::kFailEntry:
      return "kvm-fail-entry";
    case EndKind::kUnknownExit:
      return "unknown-exit";
    case EndKind::kHostError:
      return "host-error";
    case EndKind::kStopped:
      return "stopped";
  }
  return "unknown";
}

std::string ExitReasonName(uint32_t reason) {
  if (reason < std::size(kNames)) return kNames[reason];
  return absl::StrCat("KVM_EXIT_", reason);
}

MachineEnd FatalExit(const kvm_run& run) {
  switch (run.exit_reason) {
    case KVM_EXIT_SHUTDOWN:
      return {.kind = EndKind::kTripleFault, .message = "KVM_EXIT_SHUTDOWN: triple fault"};
    case KVM_EXIT_INTERNAL_ERROR:
      return InternalError(run);
    case KVM_EXIT_FAIL_ENTRY:
      return {.kind = EndKind::kFailEntry,
              .message = absl::StrFormat("KVM_EXIT_FAIL_ENTRY: hardware entry failure reason %#x",
                                         run.fail_entry.hardware_entry_failure_reason)};
    case KVM_EXIT_SYSTEM_EVENT:
      return SystemEvent(run);
    case KVM_EXIT_UNKNOWN:
      return {.kind = EndKind::kUnknownExit,
              .message = absl::StrFormat("KVM_EXIT_UNKNOWN: hardware exit reason %#x",
                                         run.hw.hardware_exit_reason)};
    default:
      return {.kind = EndKind::kUnknownExit,
              .message = absl::StrCat(ExitReasonName(run.exit_reason), ": not handled")};
  }
}

}  // namespace stasis
