// MachineSnapshot: what a frozen machine shows of its vCPUs and devices, copied out.
#ifndef STASIS_VMM_MACHINE_SNAPSHOT_H_
#define STASIS_VMM_MACHINE_SNAPSHOT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "vmm/freeze/freeze_coordinator.h"
#include "vmm/vcpu/vcpu_thread.h"

namespace stasis {

struct VcpuSnapshot {
  int index = 0;
  uint32_t id = 0;  // as KVM knows it: the APIC ID on x86_64
  bool parked = false;
  VcpuStats stats;
  std::string last_exit;  // "KVM_EXIT_HLT", "none"
  // As docs/dump-format.md has them: note contents, and an object with the registers. Without
  // registers (not parked, not started) the notes carry no more than the vCPU's number.
  std::string prstatus;
  std::string qemu;
  std::string registers_json;
  std::string unavailable;  // why there are no registers; empty: there are
  uint64_t program_counter = 0;
  bool interrupts_off = false;
  bool waiting = false;  // halted, or not started by the guest yet
};

struct DeviceSnapshot {
  std::string name;
  bool is_port = false;
  uint64_t base = 0;
  uint64_t size = 0;
  std::optional<uint32_t> gsi;
  std::string state_json;
};

struct MachineSnapshot {
  FreezeReport freeze;
  FreezeLatencies latencies;
  absl::Duration frozen_before;            // sum of earlier freezes
  std::optional<uint64_t> guest_clock_ns;  // KVM's clock at the freeze
  std::vector<VcpuSnapshot> vcpus;
  std::vector<DeviceSnapshot> devices;
};

}  // namespace stasis

#endif  // STASIS_VMM_MACHINE_SNAPSHOT_H_
