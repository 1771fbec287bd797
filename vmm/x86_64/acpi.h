// ACPI tables (hardware-reduced, ACPI 6.5) generated from the device tree, for discovery `acpi`.
#ifndef STASIS_VMM_X86_64_ACPI_H_
#define STASIS_VMM_X86_64_ACPI_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "vmm/memory/guest_address.h"
#include "vmm/platform/device_tree.h"

namespace stasis {

struct AcpiOptions {
  // Where the tables go; the RSDP stands at the base. The default is the area that a kernel scans.
  uint64_t base = 0xe0000;
  uint64_t limit = 0x100000;
};

struct AcpiTable {
  std::string signature;  // "RSDP" for the root pointer, "APIC" for the MADT, ...
  GuestAddress address;
  std::string bytes;
};

struct AcpiTables {
  GuestAddress address;  // load address of `blob`
  std::string blob;      // all tables
  GuestAddress rsdp;
  std::vector<AcpiTable> tables;  // the same, one by one, for --dump-acpi
};

// Registers of the power device (kPowerCompatible), as offsets from its first port.
inline constexpr uint64_t kSleepControlOffset = 0;
inline constexpr uint64_t kSleepStatusOffset = 1;
inline constexpr uint64_t kResetOffset = 2;
// Written to sleep control: SLP_EN (bit 5) with SLP_TYP (bits 2 to 4) of _S5 powers off.
inline constexpr uint8_t kSleepEnable = 1 << 5;
inline constexpr uint8_t kSleepTypeS5 = 5;
inline constexpr uint8_t kSleepS5Value = kSleepEnable | kSleepTypeS5 << 2;
inline constexpr uint8_t kResetValue = 1;  // written to the reset register

// Errors: InvalidArgument (broken tree), ResourceExhausted (tables do not fit below the limit).
absl::StatusOr<AcpiTables> BuildAcpi(const DeviceTree& tree, const AcpiOptions& options);

}  // namespace stasis

#endif  // STASIS_VMM_X86_64_ACPI_H_
