// ElfImage: the parts of an ELF vmlinux that a loader needs, checked once and then only looked at.
#ifndef STASIS_VMM_BOOT_ELF_IMAGE_H_
#define STASIS_VMM_BOOT_ELF_IMAGE_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "vmm/memory/guest_address.h"

namespace stasis {

// A piece of the kernel image and where it goes. Bytes from bytes.size() to memory_size are zero.
struct LoadSegment {
  GuestAddress address;
  absl::Span<const uint8_t> bytes;
  uint64_t memory_size = 0;
};

struct ElfImage {
  std::vector<LoadSegment> segments;  // PT_LOADs that take memory, ascending, not overlapping
  GuestAddress entry;                 // physical
  std::optional<uint32_t> pvh_entry;  // XEN_ELFNOTE_PHYS32_ENTRY: 32-bit entry of the PVH protocol

  GuestAddress begin() const { return segments.front().address; }
  GuestAddress end() const { return segments.back().address + segments.back().memory_size; }
};

// Parses an x86_64 kernel: ELF64, little endian, ET_EXEC or ET_DYN, with program headers. The spans
// of the result point into `bytes`; bytes behind the last segment are ignored.
// Errors: InvalidArgument, saying which field is wrong and what was found.
absl::StatusOr<ElfImage> ParseElfKernel(absl::Span<const uint8_t> bytes);

}  // namespace stasis

#endif  // STASIS_VMM_BOOT_ELF_IMAGE_H_
