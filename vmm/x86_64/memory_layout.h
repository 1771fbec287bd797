// Where RAM lies in an x86_64 machine.
#ifndef STASIS_VMM_X86_64_MEMORY_LAYOUT_H_
#define STASIS_VMM_X86_64_MEMORY_LAYOUT_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "vmm/memory/guest_memory.h"

namespace stasis {

// `bytes` of RAM in equal shares for `nodes` NUMA nodes, in node order from address 0 up; what
// would reach into the MMIO gap (kX86MmioGapBase) goes on at 4 GiB. Shares are whole MiB; the last
// node gets the remainder.
// Error: InvalidArgument (less than 16 MiB for a node).
absl::StatusOr<std::vector<MemoryRegion>> X86MemoryLayout(uint64_t bytes, uint32_t nodes);

}  // namespace stasis

#endif  // STASIS_VMM_X86_64_MEMORY_LAYOUT_H_
