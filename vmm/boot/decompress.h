// Decompression of kernel payloads on the host, with the formats that a Linux bzImage can carry.
#ifndef STASIS_VMM_BOOT_DECOMPRESS_H_
#define STASIS_VMM_BOOT_DECOMPRESS_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace stasis {

// What CONFIG_KERNEL_<name> of a bzImage selected. kLzo is recognised, not unpacked.
enum class Compression { kNone, kGzip, kXz, kLz4, kZstd, kBzip2, kLzma, kLzo, kUnknown };

// "gzip", "xz", ...; "none" and "unknown" for the two ends.
const char* CompressionName(Compression compression);

// Looks at the magic number; kNone for an ELF image that is not compressed at all.
Compression DetectCompression(absl::Span<const uint8_t> bytes);

// Unpacks `input` into `output`, whose size is the exact size expected. Input behind the end of the
// compressed stream is ignored.
// Errors: InvalidArgument (corrupt or truncated stream, or another size than expected),
// Unimplemented (kLzo, kUnknown). Both name the format. `output` may be half written then.
absl::Status Decompress(Compression compression, absl::Span<const uint8_t> input,
                        absl::Span<uint8_t> output);

// Unpacks one gzip member of unknown size, at most `limit` bytes.
// Errors: InvalidArgument (corrupt, truncated), ResourceExhausted (more than `limit`).
absl::StatusOr<std::string> Gunzip(absl::Span<const uint8_t> input, size_t limit);

}  // namespace stasis

#endif  // STASIS_VMM_BOOT_DECOMPRESS_H_
