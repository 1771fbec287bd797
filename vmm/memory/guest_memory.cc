#include "vmm/memory/guest_memory.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_format.h"

namespace stasis {
namespace {

constexpr uint64_t kPageSize = 4096;

absl::Status CheckLayout(const std::vector<MemoryRegion>& regions) {
  if (regions.empty()) return absl::InvalidArgumentError("guest memory: no regions");
  uint64_t previous_end = 0;
  for (const MemoryRegion& region : regions) {
    const uint64_t base = region.base.value();
    if (region.size == 0 || base % kPageSize != 0 || region.size % kPageSize != 0) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "guest memory: region at %#x, size %#x: not whole 4 KiB pages", base, region.size));
    }
    if (base + region.size < base) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "guest memory: region at %#x, size %#x: wraps around", base, region.size));
    }
    if (base < previous_end) {
      return absl::InvalidArgumentError(
          absl::StrFormat("guest memory: region at %#x overlaps the one before it", base));
    }
    previous_end = base + region.size;
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<GuestMemory>> GuestMemory::Create(std::vector<MemoryRegion> regions,
                                                                 Options options) {
  if (absl::Status status = CheckLayout(regions); !status.ok()) return status;
  for (MemoryRegion& region : regions) region.host = nullptr;
  // From here on the destructor unmaps what was mapped.
  std::unique_ptr<GuestMemory> memory(new GuestMemory(std::move(regions)));
  for (MemoryRegion& region : memory->regions_) {
    void* host = mmap(nullptr, region.size, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (host == MAP_FAILED) {
      return absl::ResourceExhaustedError(
          absl::StrFormat("guest memory: mmap of %d MiB: %s; ask for less with --memory",
                          region.size >> 20, strerror(errno)));
    }
    region.host = static_cast<uint8_t*>(host);
    // Advice only: a host without transparent huge pages still works.
    madvise(host, region.size, options.huge_pages ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    // A core dump of the VMM itself should not hold the guest.
    madvise(host, region.size, MADV_DONTDUMP);
  }
  return memory;
}

GuestMemory::~GuestMemory() {
  for (const MemoryRegion& region : regions_) {
    if (region.host != nullptr) munmap(region.host, region.size);
  }
}

uint64_t GuestMemory::size() const {
  uint64_t sum = 0;
  for (const MemoryRegion& region : regions_) sum += region.size;
  return sum;
}

uint8_t* GuestMemory::Host(GuestAddress address, uint64_t length) const {
  for (const MemoryRegion& region : regions_) {
    if (address < region.base) continue;
    const uint64_t offset = address - region.base;
    if (offset < region.size && length <= region.size - offset) return region.host + offset;
  }
  return nullptr;
}

bool GuestMemory::Read(GuestAddress address, void* to, uint64_t length) const {
  const uint8_t* host = Host(address, length);
  if (host == nullptr) return false;
  memcpy(to, host, length);
  return true;
}

bool GuestMemory::Write(GuestAddress address, const void* from, uint64_t length) const {
  uint8_t* host = Host(address, length);
  if (host == nullptr) return false;
  memcpy(host, from, length);
  return true;
}

uint64_t GuestMemory::TouchedBytes() const {
  constexpr uint64_t kChunk = uint64_t{1} << 30;
  uint64_t pages = 0;
  std::vector<unsigned char> resident;
  for (const MemoryRegion& region : regions_) {
    for (uint64_t at = 0; at < region.size; at += kChunk) {
      const uint64_t length = std::min(kChunk, region.size - at);
      resident.resize(length / kPageSize);
      if (mincore(region.host + at, length, resident.data()) != 0) continue;
      pages += std::count_if(resident.begin(), resident.end(),
                             [](unsigned char flags) { return (flags & 1) != 0; });
    }
  }
  return pages * kPageSize;
}

}  // namespace stasis
