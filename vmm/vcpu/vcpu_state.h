// VcpuState: what a vCPU's thread keeps of its vCPU while it stands still.
#ifndef STASIS_VMM_VCPU_VCPU_STATE_H_
#define STASIS_VMM_VCPU_VCPU_STATE_H_

#include <cstdint>

namespace stasis {

// A look at a vCPU that runs on: what it was doing when its thread was made to leave the guest.
struct VcpuGlance {
  uint64_t program_counter = 0;
  bool interrupts_off = false;
  bool waiting = false;  // as VcpuState::waiting
};

// The registers are the architecture's (vmm/x86_64/vcpu_state.h); this much every reader
// understands.
class VcpuState {
 public:
  virtual ~VcpuState() = default;

  virtual bool has_registers() const = 0;  // false: the ioctls failed
  virtual uint64_t program_counter() const = 0;
  virtual bool interrupts_off() const = 0;
  // Not running any code: halted, or waiting to be started by another CPU.
  virtual bool waiting() const = 0;
};

}  // namespace stasis

#endif  // STASIS_VMM_VCPU_VCPU_STATE_H_
