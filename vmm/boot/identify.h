// A guess at what a file is that is no kernel, for the message that says so.
#ifndef STASIS_VMM_BOOT_IDENTIFY_H_
#define STASIS_VMM_BOOT_IDENTIFY_H_

#include <cstdint>
#include <string>

#include "absl/types/span.h"

namespace stasis {

// "an arm64 kernel image (wrong architecture, needed is x86_64)", "a gzip file", "a script",
// "data of an unknown kind".
std::string DescribeNonKernel(absl::Span<const uint8_t> bytes);

}  // namespace stasis

#endif  // STASIS_VMM_BOOT_IDENTIFY_H_
