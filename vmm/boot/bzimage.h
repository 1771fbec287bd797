// BzImage: the parts of an x86 bzImage, by the Linux/x86 boot protocol.
#ifndef STASIS_VMM_BOOT_BZIMAGE_H_
#define STASIS_VMM_BOOT_BZIMAGE_H_

#include <asm/bootparam.h>

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "vmm/boot/decompress.h"
#include "vmm/boot/mapping.h"

namespace stasis {

// The spans point into the bytes that were parsed.
struct BzImage {
  setup_header header = {};  // fields that the image's protocol version does not have are 0
  std::string release;       // "6.12.9-tiny", "" if the image names none
  absl::Span<const uint8_t> protected_mode_code;
  absl::Span<const uint8_t> payload;  // compressed vmlinux, the appended size included
  Compression compression = Compression::kUnknown;
  uint64_t unpacked_size = 0;  // bytes, as the image says
};

// True if the bytes carry the setup header's magic numbers.
bool LooksLikeBzImage(absl::Span<const uint8_t> bytes);

// Errors: InvalidArgument (truncated, payload outside of the file), FailedPrecondition (boot
// protocol below 2.12, zImage, no 64-bit entry): what was found and what is needed.
absl::StatusOr<BzImage> ParseBzImage(absl::Span<const uint8_t> bytes);

// Unpacks the payload: the ELF vmlinux, followed by the relocations that only the decompressor
// uses. Errors: those of Decompress.
absl::StatusOr<Mapping> UnpackPayload(const BzImage& image);

}  // namespace stasis

#endif  // STASIS_VMM_BOOT_BZIMAGE_H_
