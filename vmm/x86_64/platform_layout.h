// X86Layout: what x86_64 brings to the platform: MMIO gap, interrupt inputs, APIC nodes.
#ifndef STASIS_VMM_X86_64_PLATFORM_LAYOUT_H_
#define STASIS_VMM_X86_64_PLATFORM_LAYOUT_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "vmm/platform/machine_view.h"
#include "vmm/platform/platform.h"

namespace stasis {

// Who is the I/O APIC: KVM (with PIC and PIT), or class IoApic of this folder on the bus (split
// chip: neither PIC nor PIT).
enum class X86IrqChip { kInKernel, kSplit };

inline constexpr uint64_t kX86MmioGapBase = 0xc0000000;  // RAM ends here or starts again at 4 GiB
inline constexpr uint64_t kX86MmioGapEnd = 0x100000000;
inline constexpr uint64_t kIoApicBase = 0xfec00000;
inline constexpr uint64_t kIoApicSize = 0x1000;
inline constexpr uint64_t kLocalApicBase = 0xfee00000;
inline constexpr uint64_t kLocalApicSize = 0x1000;
inline constexpr uint32_t kIoApicPins = 24;

// Compatibles of nodes that ACPI, MP table and the split chip look for.
inline constexpr char kIoApicCompatible[] = "intel,ce4100-ioapic";
inline constexpr char kLocalApicCompatible[] = "intel,ce4100-lapic";
inline constexpr char kSerialCompatible[] = "ns16550a";
inline constexpr char kKeyboardCompatible[] = "intel,8042";
// One byte port at kDumpRequestPort: a write asks for a dump.
inline constexpr char kDumpRequestCompatible[] = "stasis,dump-request";
inline constexpr char kPanicCompatible[] = "qemu,pvpanic-mmio";
// Three byte registers at kPowerPort: sleep control, sleep status (ACPI 6.5 §4.8.3.7), reset.
inline constexpr char kPowerCompatible[] = "stasis,acpi-power";

inline constexpr uint16_t kSerialPort = 0x3f8;  // 8 ports, GSI 4
inline constexpr uint32_t kSerialGsi = 4;
inline constexpr uint16_t kKeyboardPort = 0x64;  // 1 port: command register, for reset by 0xfe
inline constexpr uint16_t kPanicPort = 0x505;    // 1 port
inline constexpr uint16_t kPowerPort = 0x600;    // 3 ports

// The MMIO devices stand at 0xd0000000. Path of the I/O APIC's node, which wants a BusDevice with
// the split chip: kIoApicPath.
inline constexpr char kIoApicPath[] = "/soc/interrupt-controller@fec00000";

PlatformLayout X86Layout(X86IrqChip chip);

// An APIC ID for the I/O APIC that no CPU has. Error: InvalidArgument (a CPU's ID is above 254,
// which a kernel without interrupt remapping does not start).
absl::StatusOr<uint8_t> IoApicId(const MachineView& view);

}  // namespace stasis

#endif  // STASIS_VMM_X86_64_PLATFORM_LAYOUT_H_
