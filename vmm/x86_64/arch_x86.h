// ArchX86: the x86_64 side of a machine: interrupt chips, ACPI or MP tables, boot protocol, CPUID.
#ifndef STASIS_VMM_X86_64_ARCH_X86_H_
#define STASIS_VMM_X86_64_ARCH_X86_H_

#include <linux/kvm.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "vmm/arch/arch.h"
#include "vmm/boot/x86_64/linux_loader.h"
#include "vmm/x86_64/acpi.h"
#include "vmm/x86_64/ioapic.h"
#include "vmm/x86_64/msi_routes.h"
#include "vmm/x86_64/platform_layout.h"

namespace stasis {

// How each discovery shapes the machine:
//   acpi     KVM's IOAPIC and LAPICs; hardware-reduced ACPI has neither PIC nor PIT, so that no
//            interrupt is routed to the PIC and no PIT is made.
//   cmdline  PIC, IOAPIC, LAPICs and PIT in KVM, described by an MP table.
//   fdt      split chip: LAPICs in KVM, IoApic here, no PIC, no PIT.
class ArchX86 : public Arch {
 public:
  ArchX86(const MachineConfig& config, kvm::Vm* vm, std::vector<kvm_cpuid_entry2> supported,
          bool tsc_deadline, std::vector<uint32_t> dump_msrs);

  absl::Status CreateInterruptController();

  absl::StatusOr<std::vector<MemoryRegion>> MemoryLayout() const override;
  PlatformLayout Layout() const override { return X86Layout(chip_); }
  std::map<std::string, BusDevice*> PlatformDevices() override;
  absl::StatusOr<std::string> CommandLineWords(const DeviceTree& tree) const override;
  absl::Status LoadLinux(const DeviceTree& tree, const KernelImage& kernel,
                         const std::string& cmdline, absl::Span<const uint8_t> initrd,
                         const GuestMemory& memory) override;
  absl::Status LoadPayload(absl::Span<const uint8_t> code, GuestAddress at,
                           const GuestMemory& memory) override;
  uint32_t VcpuId(uint32_t cpu) const override { return config_.topology.Place(cpu).apic_id; }
  absl::Status SetupVcpu(const kvm::Vcpu& vcpu, uint32_t cpu) override;
  void EndOfInterrupt(uint8_t vector) override;
  std::string DescribeRegisters(const kvm::Vcpu& vcpu) const override;
  std::optional<VcpuGlance> Glance(const kvm::Vcpu& vcpu) const override;
  std::unique_ptr<VcpuState> NewVcpuState() const override;
  void ReadVcpuState(const kvm::Vcpu& vcpu, VcpuState* state) const override;
  VcpuNotes DescribeVcpu(const VcpuState& state, uint32_t cpu) const override;
  void Frozen() override;
  void BeforeThaw(absl::Span<const kvm::Vcpu* const> parked, bool all) override;
  std::optional<uint64_t> guest_clock_ns() const override { return frozen_clock_ns_; }
  std::vector<std::pair<std::string, std::string>> AcpiTables() const override;

 private:
  absl::Status SetBootRegisters(const kvm::Vcpu& vcpu) const;

  const MachineConfig config_;
  kvm::Vm* const vm_;
  const std::vector<kvm_cpuid_entry2> supported_;
  const bool tsc_deadline_;
  const std::vector<uint32_t> dump_msrs_;
  const X86IrqChip chip_;
  std::unique_ptr<KvmMsiRoutes> routes_;  // split chip only
  std::unique_ptr<IoApic> ioapic_;        // split chip only
  struct AcpiTables acpi_;
  BootEntry entry_;
  uint64_t entry_rsp_ = 0;
  // Of the freeze that holds: KVM's clock and the host's TSC.
  std::optional<uint64_t> frozen_clock_ns_;
  uint64_t frozen_tsc_ = 0;
};

}  // namespace stasis

#endif  // STASIS_VMM_X86_64_ARCH_X86_H_
