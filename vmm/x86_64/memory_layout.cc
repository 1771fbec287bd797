#include "vmm/x86_64/memory_layout.h"

#include <algorithm>

#include "absl/strings/str_format.h"
#include "vmm/x86_64/platform_layout.h"

namespace stasis {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;
// A node below this size cannot hold its own memory map, and Linux would ignore it.
constexpr uint64_t kMinimumPerNode = 16 * kMiB;

}  // namespace

absl::StatusOr<std::vector<MemoryRegion>> X86MemoryLayout(uint64_t bytes, uint32_t nodes) {
  const uint64_t share = bytes / nodes / kMiB * kMiB;
  if (share < kMinimumPerNode) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%d MiB of memory for %d NUMA nodes: each needs at least %d MiB; use "
        "--memory %dM or more",
        bytes / kMiB, nodes, kMinimumPerNode / kMiB, nodes * kMinimumPerNode / kMiB));
  }
  std::vector<MemoryRegion> regions;
  uint64_t at = 0;
  for (uint32_t node = 0; node < nodes; ++node) {
    uint64_t left = node + 1 == nodes ? (bytes - share * node) / kMiB * kMiB : share;
    while (left > 0) {
      if (at == kX86MmioGapBase) at = kX86MmioGapEnd;
      uint64_t size = left;
      if (at < kX86MmioGapBase) size = std::min(size, kX86MmioGapBase - at);
      regions.push_back({.base = GuestAddress(at), .size = size, .numa_node = node});
      at += size;
      left -= size;
    }
  }
  return regions;
}

}  // namespace stasis
