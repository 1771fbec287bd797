// Intel MultiProcessor Specification 1.4 tables, for kernels that find their CPUs and the I/O APIC
// without ACPI (discovery `cmdline`).
#ifndef STASIS_VMM_X86_64_MP_TABLE_H_
#define STASIS_VMM_X86_64_MP_TABLE_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "vmm/memory/guest_address.h"
#include "vmm/platform/device_tree.h"

namespace stasis {

// The BIOS area, one of the three places that §4 of the specification names; the last KiB of base
// memory would end at 37 CPUs.
inline constexpr uint64_t kMpTableBase = 0xf0000;
inline constexpr uint64_t kMpTableLimit = 0x100000;

struct MpTable {
  GuestAddress address;  // of the first byte, the floating pointer structure
  std::string bytes;     // floating pointer and configuration table
};

// Error: InvalidArgument (an APIC ID above 254, more CPUs than fit, no I/O APIC in the tree).
absl::StatusOr<MpTable> BuildMpTable(const DeviceTree& tree);

}  // namespace stasis

#endif  // STASIS_VMM_X86_64_MP_TABLE_H_
