#include "vmm/x86_64/vcpu_state.h"

#include <algorithm>
#include <iterator>

#include "vmm/kvm/x86_64/state.h"

namespace stasis {
namespace {

// Intel SDM vol. 4 and Documentation/virt/kvm/x86/msr.rst: system calls, segment bases, timers,
// paging and memory types, debugging, KVM's own clock and steal time. Performance counters and
// machine-check banks are left out: they take long to read and tell nothing about a scheduler.
constexpr uint32_t kWanted[] = {
    0x10,        // TSC
    0x1b,        // APIC_BASE
    0x3b,        // TSC_ADJUST
    0x48,        // SPEC_CTRL
    0x174,       // SYSENTER_CS
    0x175,       // SYSENTER_ESP
    0x176,       // SYSENTER_EIP
    0x1a0,       // MISC_ENABLE
    0x1d9,       // DEBUGCTL
    0x277,       // PAT
    0x6e0,       // TSC_DEADLINE
    0xda0,       // XSS
    0x4b564d00,  // KVM_WALL_CLOCK_NEW
    0x4b564d01,  // KVM_SYSTEM_TIME_NEW
    0x4b564d02,  // KVM_ASYNC_PF_EN
    0x4b564d03,  // KVM_STEAL_TIME
    0x4b564d04,  // KVM_EOI_EN
    0x4b564d05,  // KVM_POLL_CONTROL
    0x4b564d06,  // KVM_ASYNC_PF_INT
    0xc0000080,  // EFER
    0xc0000081,  // STAR
    0xc0000082,  // LSTAR
    0xc0000083,  // CSTAR
    0xc0000084,  // SYSCALL_MASK
    0xc0000100,  // FS_BASE
    0xc0000101,  // GS_BASE
    0xc0000102,  // KERNEL_GS_BASE
    0xc0000103,  // TSC_AUX
};
// Readable without standing in KVM_GET_MSR_INDEX_LIST: they are part of kvm_sregs there.
constexpr uint32_t kAlways[] = {0x1b, 0xc0000080, 0xc0000100, 0xc0000101};

template <typename T>
void Take(absl::StatusOr<T> from, X86VcpuState::Part<T>& to) {
  to.status = from.status();
  if (from.ok()) to.value = *std::move(from);
}

}  // namespace

std::vector<uint32_t> DumpMsrs(const kvm::Kvm& kvm) {
  const std::vector<uint32_t> known = kvm::MsrIndices(kvm);
  std::vector<uint32_t> wanted;
  for (uint32_t index : kWanted) {
    const bool has = std::find(known.begin(), known.end(), index) != known.end() ||
                     std::find(std::begin(kAlways), std::end(kAlways), index) != std::end(kAlways);
    if (has) wanted.push_back(index);
  }
  return wanted;
}

void X86VcpuState::Read(const kvm::Vcpu& vcpu, const std::vector<uint32_t>& msr_indices) {
  Take(kvm::GetRegs(vcpu), regs);
  Take(kvm::GetSregs(vcpu), sregs);
  Take(kvm::GetMpState(vcpu), mp_state);
  Take(kvm::GetVcpuEvents(vcpu), events);
  Take(kvm::GetLapic(vcpu), lapic);
  Take(kvm::GetMsrs(vcpu, msr_indices), msrs);
  Take(kvm::GetDebugRegs(vcpu), debugregs);
  Take(kvm::GetFpu(vcpu), fpu);
  Take(kvm::GetXsave(vcpu), xsave);
  Take(kvm::GetXcrs(vcpu), xcrs);
}

}  // namespace stasis
