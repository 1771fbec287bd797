// CgroupPaths: the names of cgroups as /proc/PID/cgroup has them.
#ifndef STASIS_TOOLS_INSPECT_CGROUP_PATHS_H_
#define STASIS_TOOLS_INSPECT_CGROUP_PATHS_H_

#include <cstdint>
#include <string>
#include <unordered_map>

#include "tools/inspect/kernel.h"

namespace stasis {

// Of one moment: what was read once is kept. One thread; the kernel outlives it.
class CgroupPaths {
 public:
  explicit CgroupPaths(const Kernel* kernel) : kernel_(*kernel) {}

  // "/left/inner" of the struct cgroup at `address`; "/" for the root and where nothing can be read.
  const std::string& Of(uint64_t address);

 private:
  std::string Read(uint64_t address) const;

  const Kernel& kernel_;
  std::unordered_map<uint64_t, std::string> known_;
};

}  // namespace stasis

#endif  // STASIS_TOOLS_INSPECT_CGROUP_PATHS_H_
