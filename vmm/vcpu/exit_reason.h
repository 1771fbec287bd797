// Exit reasons of KVM_RUN: their names, and the ends that they bring.
#ifndef STASIS_VMM_VCPU_EXIT_REASON_H_
#define STASIS_VMM_VCPU_EXIT_REASON_H_

#include <linux/kvm.h>

#include <string>

#include "absl/strings/string_view.h"
#include "vmm/vcpu/machine_end.h"

namespace stasis {

// "KVM_EXIT_MMIO"; "KVM_EXIT_<number>" for one that is newer than this program.
std::string ExitReasonName(uint32_t reason);

// The end of the machine that `run`'s exit reason means. Only for exits that do not resume the
// guest; the vCPU number and registers are left to the caller.
MachineEnd FatalExit(const kvm_run& run);

}  // namespace stasis

#endif  // STASIS_VMM_VCPU_EXIT_REASON_H_
