// Arch: everything of a machine that depends on the processor architecture. vmm/x86_64 implements
// it; an aarch64 beside it fills the same interface.
#ifndef STASIS_VMM_ARCH_ARCH_H_
#define STASIS_VMM_ARCH_ARCH_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "vmm/boot/kernel_image.h"
#include "vmm/device/device.h"
#include "vmm/kvm/kvm.h"
#include "vmm/machine_config.h"
#include "vmm/memory/guest_memory.h"
#include "vmm/platform/device_tree.h"
#include "vmm/platform/platform.h"
#include "vmm/vcpu/vcpu_state.h"

namespace stasis {

// Owned by the machine, used by the machine's thread but where noted. `kvm` and `vm` outlive it.
class Arch {
 public:
  // Checks what `config` needs of this KVM and creates the interrupt controller in it.
  // Errors: InvalidArgument (a topology that cannot run here), Unimplemented (a KVM capability that
  // the discovery needs is missing, by name).
  static absl::StatusOr<std::unique_ptr<Arch>> Create(const MachineConfig& config,
                                                      const kvm::Kvm& kvm, kvm::Vm* vm);
  virtual ~Arch() = default;

  // RAM of config.memory_bytes, shared out to the NUMA nodes, with the MMIO gap left free.
  virtual absl::StatusOr<std::vector<MemoryRegion>> MemoryLayout() const = 0;

  virtual PlatformLayout Layout() const = 0;

  // Devices that belong to the platform itself, by node path.
  virtual std::map<std::string, BusDevice*> PlatformDevices() = 0;

  // Words for the kernel command line that the discovery needs; may be empty.
  virtual absl::StatusOr<std::string> CommandLineWords(const DeviceTree& tree) const = 0;

  // Writes the kernel, the initrd and the description of the machine into memory, and keeps the
  // entry state for SetupVcpu.
  virtual absl::Status LoadLinux(const DeviceTree& tree, const KernelImage& kernel,
                                 const std::string& cmdline, absl::Span<const uint8_t> initrd,
                                 const GuestMemory& memory) = 0;
  // See Machine::LoadPayload.
  virtual absl::Status LoadPayload(absl::Span<const uint8_t> code, GuestAddress at,
                                   const GuestMemory& memory) = 0;

  // Number of vCPU `cpu` for KVM_CREATE_VCPU (x86_64: its APIC ID).
  virtual uint32_t VcpuId(uint32_t cpu) const = 0;
  // Brings a new vCPU into the state in which it starts. Before its first KVM_RUN.
  virtual absl::Status SetupVcpu(const kvm::Vcpu& vcpu, uint32_t cpu) = 0;

  // The end of a level interrupt; on vCPU threads.
  virtual void EndOfInterrupt(uint8_t vector) = 0;

  // Registers as text, one group per line. On the vCPU's thread, not behind an unfinished access.
  virtual std::string DescribeRegisters(const kvm::Vcpu& vcpu) const = 0;

  // As DescribeRegisters; nothing if KVM does not tell.
  virtual std::optional<VcpuGlance> Glance(const kvm::Vcpu& vcpu) const = 0;

  // What a vCPU thread keeps while it stands still. ReadVcpuState as DescribeRegisters.
  virtual std::unique_ptr<VcpuState> NewVcpuState() const = 0;
  virtual void ReadVcpuState(const kvm::Vcpu& vcpu, VcpuState* state) const = 0;
  // Its notes and its JSON in a dump (docs/dump-format.md). `state` is of NewVcpuState.
  struct VcpuNotes {
    std::string prstatus;
    std::string qemu;
    std::string json;
  };
  virtual VcpuNotes DescribeVcpu(const VcpuState& state, uint32_t cpu) const = 0;

  // Guest time stands still during a freeze as far as KVM allows (F9). Frozen: all vCPUs stand
  // still. BeforeThaw: they are about to go on; only `parked` ones are touched.
  virtual void Frozen() = 0;
  virtual void BeforeThaw(absl::Span<const kvm::Vcpu* const> parked, bool all) = 0;
  // Of the last freeze, in nanoseconds; nothing where KVM does not tell.
  virtual std::optional<uint64_t> guest_clock_ns() const = 0;

  // ACPI tables by signature, if the guest was given any.
  virtual std::vector<std::pair<std::string, std::string>> AcpiTables() const = 0;
};

}  // namespace stasis

#endif  // STASIS_VMM_ARCH_ARCH_H_
