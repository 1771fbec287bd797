#include "vmm/boot/x86_64/memory_ranges.h"

#include <algorithm>

namespace stasis {

std::vector<MemoryRange> ContiguousRanges(const GuestMemory& memory) {
  std::vector<MemoryRange> ranges;
  for (const MemoryRegion& region : memory.regions()) {
    if (!ranges.empty() && ranges.back().end == region.base) {
      ranges.back().end = region.base + region.size;
    } else {
      ranges.push_back({region.base, region.base + region.size});
    }
  }
  return ranges;
}

bool IsRam(const GuestMemory& memory, GuestAddress begin, uint64_t size) {
  for (const MemoryRange& range : ContiguousRanges(memory)) {
    if (begin >= range.begin && begin < range.end && size <= range.end - begin) return true;
  }
  return false;
}

bool WriteRange(const GuestMemory& memory, GuestAddress to, absl::Span<const uint8_t> bytes) {
  for (const MemoryRegion& region : memory.regions()) {
    if (bytes.empty()) return true;
    if (to < region.base || to >= region.base + region.size) continue;
    const uint64_t count = std::min<uint64_t>(bytes.size(), region.base + region.size - to);
    if (!memory.Write(to, bytes.data(), count)) return false;
    bytes.remove_prefix(count);
    to = to + count;
  }
  return bytes.empty();
}

}  // namespace stasis
