// The x86_64 part of a dump: a vCPU's state as ELF notes and as JSON (docs/dump-format.md).
#ifndef STASIS_VMM_X86_64_VCPU_NOTES_H_
#define STASIS_VMM_X86_64_VCPU_NOTES_H_

#include <cstdint>
#include <string>

#include "vmm/x86_64/vcpu_state.h"

namespace stasis {

// struct elf_prstatus, with pr_pid = cpu + 1.
std::string X86PrStatus(const X86VcpuState& state, uint32_t cpu);
// QEMU's QEMUCPUState, version 1.
std::string X86QemuState(const X86VcpuState& state);
// JSON object: `regs`, `sregs`, ... `mp_state`.
std::string X86StateJson(const X86VcpuState& state);

}  // namespace stasis

#endif  // STASIS_VMM_X86_64_VCPU_NOTES_H_
