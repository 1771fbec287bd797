// What a program or script of the host needs beside itself to run in the guest.
#ifndef STASIS_TOOLS_HARNESS_INITRAMFS_DEPENDENCIES_H_
#define STASIS_TOOLS_HARNESS_INITRAMFS_DEPENDENCIES_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace stasis {

// Paths of the loader and of the shared libraries of an ELF file (asking its own loader, so that
// RPATH, $ORIGIN and ld.so.cache count), or of a script's interpreter; without what those need in
// turn, except that a library's libraries are among a program's. Empty for anything else. What a
// program opens by dlopen() cannot be seen.
// Errors: NotFound naming a library that the host does not have; errno for an unreadable file.
absl::StatusOr<std::vector<std::string>> DirectDependencies(const std::string& path);

}  // namespace stasis

#endif  // STASIS_TOOLS_HARNESS_INITRAMFS_DEPENDENCIES_H_
