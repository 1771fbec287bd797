// MachineEnd: how and why a machine stopped running.
#ifndef STASIS_VMM_VCPU_MACHINE_END_H_
#define STASIS_VMM_VCPU_MACHINE_END_H_

#include <string>

#include "absl/strings/string_view.h"

namespace stasis {

// How the life of a machine ended. Every kind has its own name in verdicts and dumps.
enum class EndKind {
  kPowerOff,       // the guest powered off
  kReset,          // the guest asked for a reset
  kPanic,          // the guest kernel or agent notified a panic
  kTripleFault,    // KVM_EXIT_SHUTDOWN
  kInternalError,  // KVM_EXIT_INTERNAL_ERROR
  kFailEntry,      // KVM_EXIT_FAIL_ENTRY
  kUnknownExit,    // an exit reason that this program does not handle
  kHostError,      // an ioctl failed
  kStopped,        // Stop() was called
};

// "power-off", "triple-fault", ...
absl::string_view EndKindName(EndKind kind);

struct MachineEnd {
  EndKind kind = EndKind::kStopped;
  int vcpu = -1;          // the vCPU that brought it about, -1: none
  std::string message;    // one line: exit reason with its numbers, errno text
  std::string registers;  // of that vCPU, for fatal exits; several lines, else empty
};

}  // namespace stasis

#endif  // STASIS_VMM_VCPU_MACHINE_END_H_
