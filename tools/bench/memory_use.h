// Memory of a monitor process beyond its guest's, from /proc/PID/smaps.
#ifndef STASIS_TOOLS_BENCH_MEMORY_USE_H_
#define STASIS_TOOLS_BENCH_MEMORY_USE_H_

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace stasis::bench {

// One mapping of a process; sizes in bytes.
struct MemoryMapping {
  uint64_t begin = 0;  // address
  uint64_t size = 0;
  uint64_t rss = 0;
  uint64_t pss = 0;  // pages shared with other processes count in parts
  std::string name;  // file or "[heap]"; empty for anonymous memory
};

// Error: InvalidArgument with the line that is not as the kernel writes it.
absl::StatusOr<std::vector<MemoryMapping>> ParseSmaps(absl::string_view text);

struct MemoryUse {
  uint64_t guest_resident = 0;  // of the guest's RAM
  uint64_t rss = 0;             // of everything else
  uint64_t pss = 0;
  // The largest part of `rss`: what to look at first.
  std::string largest_name;
  uint64_t largest_rss = 0;
};

// Splits off the guest's RAM: neighbouring anonymous mappings that together are as large as it.
// The same rule for every monitor, so that figures compare. `mappings` ascend, as in smaps.
// Error: NotFound when there are none: so with a guest so large that its RAM is not in one piece.
absl::StatusOr<MemoryUse> SplitMemory(const std::vector<MemoryMapping>& mappings,
                                      uint64_t guest_bytes);

// ParseSmaps and SplitMemory of a running process. Errors: those, errno of /proc/PID/smaps.
absl::StatusOr<MemoryUse> ReadMemoryUse(pid_t pid, uint64_t guest_bytes);

}  // namespace stasis::bench

#endif  // STASIS_TOOLS_BENCH_MEMORY_USE_H_
