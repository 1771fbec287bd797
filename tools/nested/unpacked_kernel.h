// The emulated host's kernel, unpacked on this machine: emulated decompression takes seconds.
#ifndef STASIS_TOOLS_NESTED_UNPACKED_KERNEL_H_
#define STASIS_TOOLS_NESTED_UNPACKED_KERNEL_H_

#include <string>

#include "absl/status/statusor.h"

namespace stasis::nested {

// Returns a descriptor (the caller's, close-on-exec) of a memfd with the ELF image in the bzImage
// `path`, taken from the unpack cache below `cache` or put there; a cache that cannot be written
// costs only time. Errors: errno text; those of the bzImage parser.
absl::StatusOr<int> UnpackKernel(const std::string& path, const std::string& cache);

}  // namespace stasis::nested

#endif  // STASIS_TOOLS_NESTED_UNPACKED_KERNEL_H_
