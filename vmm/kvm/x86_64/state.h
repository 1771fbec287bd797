// x86_64 ioctls on a VM and its vCPUs: interrupt chips, CPUID, registers.
#ifndef STASIS_VMM_KVM_X86_64_STATE_H_
#define STASIS_VMM_KVM_X86_64_STATE_H_

#include <linux/kvm.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "vmm/kvm/kvm.h"

namespace stasis::kvm {

// KVM_GET_SUPPORTED_CPUID (api.rst §4.46).
absl::StatusOr<std::vector<kvm_cpuid_entry2>> SupportedCpuid(const Kvm& kvm);

// Where VMX keeps its real-mode TSS (3 pages) and identity page table (1 page), both inside the
// MMIO gap. Called before the first vCPU.
absl::Status SetRealModeAreas(const Vm& vm, uint64_t tss_address, uint64_t identity_map_address);

// PIC, IOAPIC and LAPICs in the kernel; `with_pit` adds the 8254.
absl::Status CreateFullIrqChip(const Vm& vm, bool with_pit);
// LAPICs in the kernel only; GSIs 0 to `pins` - 1 belong to an IOAPIC in user space.
absl::Status CreateSplitIrqChip(const Vm& vm, uint32_t pins);

absl::Status SetCpuid(const Vcpu& vcpu, absl::Span<const kvm_cpuid_entry2> entries);

absl::StatusOr<kvm_regs> GetRegs(const Vcpu& vcpu);
absl::Status SetRegs(const Vcpu& vcpu, const kvm_regs& regs);
absl::StatusOr<kvm_sregs> GetSregs(const Vcpu& vcpu);
absl::Status SetSregs(const Vcpu& vcpu, const kvm_sregs& sregs);
absl::StatusOr<kvm_lapic_state> GetLapic(const Vcpu& vcpu);
absl::Status SetLapic(const Vcpu& vcpu, const kvm_lapic_state& lapic);
absl::StatusOr<kvm_mp_state> GetMpState(const Vcpu& vcpu);
absl::StatusOr<kvm_vcpu_events> GetVcpuEvents(const Vcpu& vcpu);
absl::StatusOr<kvm_debugregs> GetDebugRegs(const Vcpu& vcpu);
absl::StatusOr<kvm_fpu> GetFpu(const Vcpu& vcpu);
// struct kvm_xsave, which <asm/kvm.h> declares with a flexible array at its end.
struct XsaveArea {
  uint32_t region[1024];
};
absl::StatusOr<XsaveArea> GetXsave(const Vcpu& vcpu);
absl::StatusOr<kvm_xcrs> GetXcrs(const Vcpu& vcpu);
absl::Status SetMsr(const Vcpu& vcpu, uint32_t index, uint64_t value);

// KVM_GET_MSR_INDEX_LIST: what a guest of this KVM may have; empty if it does not say.
std::vector<uint32_t> MsrIndices(const Kvm& kvm);
// Those of `indices` that this KVM reads. Not one at a time, but where KVM refuses one.
absl::StatusOr<std::vector<kvm_msr_entry>> GetMsrs(const Vcpu& vcpu,
                                                   const std::vector<uint32_t>& indices);

// The guest's clock (KVM_GET_CLOCK, KVM_SET_CLOCK), in nanoseconds.
absl::StatusOr<uint64_t> GetClock(const Vm& vm);
absl::Status SetClock(const Vm& vm, uint64_t ns);
// Tells the guest that it was paused (KVM_KVMCLOCK_CTRL). Error: InvalidArgument while the guest
// has no KVM clock.
absl::Status NotifyPaused(const Vcpu& vcpu);

// What KVM adds to the host's TSC for this vCPU (KVM_VCPU_TSC_OFFSET). Nothing where it has no such
// attribute (before Linux 5.16).
std::optional<uint64_t> TscOffset(const Vcpu& vcpu);
absl::Status SetTscOffset(const Vcpu& vcpu, uint64_t offset);

// Frequency of the guest's TSC in kHz; nullopt where KVM does not say.
std::optional<uint32_t> TscKhz(const Vcpu& vcpu);

}  // namespace stasis::kvm

#endif  // STASIS_VMM_KVM_X86_64_STATE_H_
