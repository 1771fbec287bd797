#include "vmm/boot/x86_64/memory_ranges.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>

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

bool FillRange(const GuestMemory& memory, GuestAddress to, uint64_t size,
               absl::FunctionRef<void(uint64_t offset, absl::Span<uint8_t> part)> fill) {
  uint64_t done = 0;
  for (const MemoryRegion& region : memory.regions()) {
    if (done == size) return true;
    const GuestAddress at = to + done;
    if (at < region.base || at >= region.base + region.size) continue;
    const uint64_t count = std::min<uint64_t>(size - done, region.base + region.size - at);
    fill(done, absl::MakeSpan(region.host + (at - region.base), count));
    done += count;
  }
  return done == size;
}

bool WriteRange(const GuestMemory& memory, GuestAddress to, absl::Span<const uint8_t> bytes) {
  return FillRange(memory, to, bytes.size(), [bytes](uint64_t offset, absl::Span<uint8_t> part) {
    memcpy(part.data(), bytes.data() + offset, part.size());
  });
}

void PreferHugePages(const GuestMemory& memory, GuestAddress begin, uint64_t size) {
  constexpr uintptr_t kHugePage = 2 << 20;
  for (const MemoryRegion& region : memory.regions()) {
    const GuestAddress from = std::max(begin, region.base);
    const GuestAddress to = std::min(begin + size, region.base + region.size);
    if (from >= to) continue;
    const auto host = reinterpret_cast<uintptr_t>(region.host);
    const uintptr_t first = std::max(host, (host + (from - region.base)) & ~(kHugePage - 1));
    const uintptr_t last = std::min(host + region.size,
                                    (host + (to - region.base) + kHugePage - 1) & ~(kHugePage - 1));
    // A host without huge pages says no, and the copy is slower: nothing to report.
    (void)madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
  }
}

}  // namespace stasis
