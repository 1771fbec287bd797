// Contiguous guest RAM, whatever NUMA node it belongs to: an image may span several regions.
#ifndef STASIS_VMM_BOOT_X86_64_MEMORY_RANGES_H_
#define STASIS_VMM_BOOT_X86_64_MEMORY_RANGES_H_

#include <cstdint>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/types/span.h"
#include "vmm/memory/guest_address.h"
#include "vmm/memory/guest_memory.h"

namespace stasis {

struct MemoryRange {
  GuestAddress begin;
  GuestAddress end;
};

// The regions of `memory`, adjacent ones joined, ascending.
std::vector<MemoryRange> ContiguousRanges(const GuestMemory& memory);

// True if [begin, begin + size) is RAM throughout.
bool IsRam(const GuestMemory& memory, GuestAddress begin, uint64_t size);

// Has `fill` write [to, to + size): it gets a part's offset and where that part is in this process,
// one after the other across adjacent regions. False (and a part may be filled) outside of RAM.
bool FillRange(const GuestMemory& memory, GuestAddress to, uint64_t size,
               absl::FunctionRef<void(uint64_t offset, absl::Span<uint8_t> part)> fill);

// Copies `bytes` to `to`, across adjacent regions; false (and a part may be copied) outside of RAM.
bool WriteRange(const GuestMemory& memory, GuestAddress to, absl::Span<const uint8_t> bytes);

// Asks for huge host pages under [begin, begin + size), where the host offers them: filling tens of
// MiB then costs a few page faults instead of ten thousand. Touches up to 2 MiB more at each end.
void PreferHugePages(const GuestMemory& memory, GuestAddress begin, uint64_t size);

}  // namespace stasis

#endif  // STASIS_VMM_BOOT_X86_64_MEMORY_RANGES_H_
