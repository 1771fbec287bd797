// MemoryImage: the physical memory of a Linux guest, of a dump or of a machine that stands still.
#ifndef STASIS_TOOLS_INSPECT_MEMORY_IMAGE_H_
#define STASIS_TOOLS_INSPECT_MEMORY_IMAGE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include "vmm/memory/guest_memory.h"

namespace stasis {

class MemoryImage {
 public:
  virtual ~MemoryImage() = default;

  // Copies guest-physical memory. False, and nothing is promised of `to`, when a part of it is not
  // there.
  virtual bool ReadPhysical(uint64_t address, void* to, size_t length) const = 0;
  // The guest kernel's own text; empty without.
  virtual absl::string_view vmcoreinfo() const = 0;
};

// Of a machine in this process; `memory` outlives it.
class GuestMemoryImage : public MemoryImage {
 public:
  GuestMemoryImage(const GuestMemory* memory, std::string vmcoreinfo)
      : memory_(memory), vmcoreinfo_(std::move(vmcoreinfo)) {}

  bool ReadPhysical(uint64_t address, void* to, size_t length) const override {
    return memory_->Read(GuestAddress(address), to, length);
  }
  absl::string_view vmcoreinfo() const override { return vmcoreinfo_; }

 private:
  const GuestMemory* const memory_;
  const std::string vmcoreinfo_;
};

}  // namespace stasis

#endif  // STASIS_TOOLS_INSPECT_MEMORY_IMAGE_H_
