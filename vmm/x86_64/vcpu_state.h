// X86VcpuState: everything that KVM tells of an x86_64 vCPU.
#ifndef STASIS_VMM_X86_64_VCPU_STATE_H_
#define STASIS_VMM_X86_64_VCPU_STATE_H_

#include <linux/kvm.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "vmm/kvm/kvm.h"
#include "vmm/kvm/x86_64/state.h"
#include "vmm/vcpu/vcpu_state.h"

namespace stasis {

// RFLAGS.IF (Intel SDM vol. 1, 3.4.3.3).
constexpr uint64_t kInterruptFlag = 1 << 9;

// Structures as the UAPI has them. Each part that KVM did not give carries the error.
struct X86VcpuState : VcpuState {
  template <typename T>
  struct Part {
    T value = {};
    absl::Status status = absl::UnavailableError("not read");
  };

  Part<kvm_regs> regs;
  Part<kvm_sregs> sregs;
  Part<kvm_debugregs> debugregs;
  Part<kvm_fpu> fpu;
  Part<kvm::XsaveArea> xsave;
  Part<kvm_xcrs> xcrs;
  Part<kvm_lapic_state> lapic;
  Part<kvm_vcpu_events> events;
  Part<kvm_mp_state> mp_state;
  Part<std::vector<kvm_msr_entry>> msrs;

  // Fills in all parts. `msr_indices`: those worth asking for; unknown ones are left out. On the
  // vCPU's thread, not behind an unfinished access (F4).
  void Read(const kvm::Vcpu& vcpu, const std::vector<uint32_t>& msr_indices);

  bool has_registers() const override { return regs.status.ok() && sregs.status.ok(); }
  uint64_t program_counter() const override { return regs.value.rip; }
  bool interrupts_off() const override { return (regs.value.rflags & kInterruptFlag) == 0; }
  bool waiting() const override {
    return mp_state.status.ok() && mp_state.value.mp_state != KVM_MP_STATE_RUNNABLE;
  }
};

// The MSRs of a dump that `kvm` can read, out of KVM_GET_MSR_INDEX_LIST.
std::vector<uint32_t> DumpMsrs(const kvm::Kvm& kvm);

}  // namespace stasis

#endif  // STASIS_VMM_X86_64_VCPU_STATE_H_
