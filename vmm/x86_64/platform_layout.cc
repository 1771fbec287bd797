#include "vmm/x86_64/platform_layout.h"

#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"

namespace stasis {
namespace {

// Windows of MMIO devices, in the gap below the APICs.
constexpr uint64_t kMmioBase = 0xd0000000;
constexpr uint64_t kMmioLimit = 0xd1000000;

constexpr uint64_t kMaxApicId = 254;  // 255 addresses all CPUs

constexpr uint32_t kEdgeRising = 3;  // second cell of an interrupt, drivers of intel,ce4100-ioapic

// One order for every discovery. 16 to 23 come first: no PC convention is tied to them, they reach
// the I/O APIC alone (KVM wires 0 to 15 to its PIC too), ACPI, MP table and device tree can all
// name them. Then those ISA inputs that nothing claims on this machine: 5, 10, 11, 15, 14, 12, 6,
// 7, 3. Never: 0 (PIT), 1 (keyboard), 2 (PIC cascade), 4 (serial), 8 (KVM counts acknowledgements
// of the RTC's input), 9 (ACPI's usual SCI), 13 (FPU errors).
const std::vector<uint32_t>& DeviceGsis() {
  static const auto* const kOrder =
      new std::vector<uint32_t>{16, 17, 18, 19, 20, 21, 22, 23, 5, 10, 11, 15, 14, 12, 6, 7, 3};
  return *kOrder;
}

absl::Status WriteApics(DeviceTreeWriter& writer, uint32_t phandle, X86IrqChip chip) {
  writer.BeginNode("interrupt-controller@fec00000").IgnoreError();
  writer.String("compatible", kIoApicCompatible).IgnoreError();
  writer.Cells("reg", {0, kIoApicBase, 0, kIoApicSize}).IgnoreError();
  writer.Flag("interrupt-controller").IgnoreError();
  writer.Cell("#interrupt-cells", 2).IgnoreError();
  writer.Cell("#address-cells", 0).IgnoreError();
  writer.Cell("phandle", phandle).IgnoreError();
  if (chip == X86IrqChip::kInKernel) writer.Flag(kInKernelProperty).IgnoreError();
  writer.EndNode().IgnoreError();

  writer.BeginNode("lapic@fee00000").IgnoreError();
  writer.String("compatible", kLocalApicCompatible).IgnoreError();
  writer.Cells("reg", {0, kLocalApicBase, 0, kLocalApicSize}).IgnoreError();
  // Without it Linux takes the machine for one with an IMCR in front of a PIC.
  writer.Flag("intel,virtual-wire-mode").IgnoreError();
  writer.Flag(kInKernelProperty).IgnoreError();
  return writer.EndNode();
}

}  // namespace

PlatformLayout X86Layout(X86IrqChip chip) {
  PlatformLayout layout;
  layout.root_compatible = "stasis,microvm-x86";
  layout.mmio_base = kMmioBase;
  layout.mmio_limit = kMmioLimit;
  layout.device_gsis = DeviceGsis();
  layout.gsi_count = kIoApicPins;
  layout.has_ports = true;
  layout.edge_interrupt = [](uint32_t gsi) { return std::vector<uint32_t>{gsi, kEdgeRising}; };
  layout.write_interrupt_controller = [chip](DeviceTreeWriter& writer, uint32_t phandle) {
    return WriteApics(writer, phandle, chip);
  };
  layout.cpu_hardware_id = [](const Topology& topology, uint32_t cpu) -> uint64_t {
    return topology.Place(cpu).apic_id;
  };
  return layout;
}

absl::StatusOr<uint8_t> IoApicId(const MachineView& view) {
  std::set<uint64_t> taken;
  for (const CpuInfo& cpu : view.cpus) taken.insert(cpu.hardware_id);
  if (*taken.rbegin() > kMaxApicId) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "APIC ID %d: IDs end at %d; use a topology whose counts are powers of two, or fewer CPUs",
        *taken.rbegin(), kMaxApicId));
  }
  if (*taken.rbegin() < kMaxApicId) return static_cast<uint8_t>(*taken.rbegin() + 1);
  for (uint32_t id = 0; id <= kMaxApicId; ++id) {
    if (taken.count(id) == 0) return static_cast<uint8_t>(id);
  }
  return absl::InvalidArgumentError("all 255 APIC IDs are taken by CPUs; use fewer CPUs");
}

}  // namespace stasis
