// Whole files in and out, with errors that name the path.
#ifndef STASIS_TOOLS_HARNESS_INITRAMFS_FILES_H_
#define STASIS_TOOLS_HARNESS_INITRAMFS_FILES_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace stasis {

// Errors: errno with the path (NotFound, PermissionDenied, ...).
absl::StatusOr<std::string> ReadFile(const std::string& path);

// Runs a program of the host and returns its standard output. Errors: errno when it cannot be
// started, FailedPrecondition with the first line of its standard error when its exit code is not 0.
absl::StatusOr<std::string> RunProgram(const std::vector<std::string>& argv);

}  // namespace stasis

#endif  // STASIS_TOOLS_HARNESS_INITRAMFS_FILES_H_
