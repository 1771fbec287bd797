// LiveMemory: the physical memory of a guest that runs.
#ifndef STASIS_TOOLS_MONITOR_LIVE_MEMORY_H_
#define STASIS_TOOLS_MONITOR_LIVE_MEMORY_H_

#include <string>
#include <utility>

#include "tools/inspect/memory_image.h"
#include "vmm/memory/guest_memory.h"

namespace stasis {

// vCPUs and device workers write what is read here. Copies word by word with relaxed atomic loads:
// an aligned word is never torn, and nothing is promised of two words together. `memory` outlives
// it. Any thread.
class LiveMemoryImage : public MemoryImage {
 public:
  LiveMemoryImage(const GuestMemory* memory, std::string vmcoreinfo)
      : memory_(memory), vmcoreinfo_(std::move(vmcoreinfo)) {}

  bool ReadPhysical(uint64_t address, void* to, size_t length) const override;
  absl::string_view vmcoreinfo() const override { return vmcoreinfo_; }

 private:
  const GuestMemory* const memory_;
  const std::string vmcoreinfo_;
};

}  // namespace stasis

#endif  // STASIS_TOOLS_MONITOR_LIVE_MEMORY_H_
