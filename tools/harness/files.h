// Files that appear whole or not at all.
#ifndef STASIS_TOOLS_HARNESS_FILES_H_
#define STASIS_TOOLS_HARNESS_FILES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace stasis {

// Writes to a temporary name beside `path`, syncs and renames. A path that names something other
// than a regular file (/dev/stdout) is written as it is. Error: errno with the path; nothing stays
// behind.
absl::Status WriteFileAtomically(const std::string& path, absl::string_view contents);

// A whole file. Errors: errno with the path; ResourceExhausted above `limit` bytes.
absl::StatusOr<std::string> ReadWholeFile(const std::string& path, uint64_t limit);

// Absolute path of `path` without a symbolic link followed; "" stays "".
std::string AbsolutePath(const std::string& path);

}  // namespace stasis

#endif  // STASIS_TOOLS_HARNESS_FILES_H_
