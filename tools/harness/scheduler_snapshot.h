// SchedulerSnapshot: the scheduler's view of a frozen guest, for its dump (rule D5).
#ifndef STASIS_TOOLS_HARNESS_SCHEDULER_SNAPSHOT_H_
#define STASIS_TOOLS_HARNESS_SCHEDULER_SNAPSHOT_H_

#include <memory>
#include <optional>
#include <vector>

#include "nlohmann/json.hpp"
#include "tools/inspect/kernel.h"
#include "tools/inspect/memory_image.h"
#include "tools/inspect/unwind.h"
#include "vmm/dump/vmcoreinfo.h"
#include "vmm/machine_snapshot.h"
#include "vmm/memory/guest_memory.h"

namespace stasis {

// One thread. What the kernel says of itself (symbols, types) is read once.
class SchedulerSnapshot {
 public:
  // `memory` outlives it, and stands still, as it does in `vcpus`. An object with `unavailable` alone where the kernel
  // cannot be read: before it has written its VMCOREINFO, or one without kallsyms or BTF.
  nlohmann::json Take(const GuestMemory& memory, const std::optional<dump::VmcoreInfoHint>& hint,
                      const std::vector<VcpuSnapshot>& vcpus);

 private:
  absl::Status Open(const GuestMemory& memory, const std::optional<dump::VmcoreInfoHint>& hint);

  std::unique_ptr<GuestMemoryImage> image_;
  std::unique_ptr<Kernel> kernel_;
  std::unique_ptr<Unwinder> unwinder_;
};

}  // namespace stasis

#endif  // STASIS_TOOLS_HARNESS_SCHEDULER_SNAPSHOT_H_
