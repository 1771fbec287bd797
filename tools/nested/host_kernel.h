// The emulated host's kernel and the modules it needs, chosen from the kernel cache.
#ifndef STASIS_TOOLS_NESTED_HOST_KERNEL_H_
#define STASIS_TOOLS_NESTED_HOST_KERNEL_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace stasis::nested {

struct HostKernel {
  std::string release;
  std::string image;                 // vmlinuz
  std::vector<std::string> modules;  // paths, in load order
};

// `directory` holds vmlinuz, config and lib/modules/<release> with modules.dep. Error: NotFound
// naming the files or options that are missing.
absl::StatusOr<HostKernel> ReadHostKernel(const std::string& directory);

// By name: a directory, or a release in `cache`. Empty: the best of `cache`. Error: NotFound with
// why each one was refused and how to get one.
absl::StatusOr<HostKernel> FindHostKernel(const std::string& name, const std::string& cache);

}  // namespace stasis::nested

#endif  // STASIS_TOOLS_NESTED_HOST_KERNEL_H_
