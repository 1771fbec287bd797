// KernelMemory: the memory of an x86_64 Linux kernel by its own virtual addresses.
#ifndef STASIS_TOOLS_INSPECT_KERNEL_MEMORY_H_
#define STASIS_TOOLS_INSPECT_KERNEL_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <optional>

#include "tools/inspect/memory_image.h"

namespace stasis {

// The kernel image is mapped linearly (phys_base of VMCOREINFO); all else goes through the page
// tables at swapper_pg_dir, with 4 or 5 levels and huge pages. Constant; `image` outlives it.
class KernelMemory {
 public:
  explicit KernelMemory(const MemoryImage* image);

  // Without VMCOREINFO nothing can be translated.
  bool usable() const { return phys_base_.has_value(); }
  uint64_t kaslr_offset() const { return kaslr_offset_; }
  const MemoryImage& image() const { return *image_; }

  // Nothing for an address that is not mapped.
  std::optional<uint64_t> Translate(uint64_t address) const;
  bool Read(uint64_t address, void* to, size_t length) const;
  template <typename T>
  std::optional<T> Load(uint64_t address) const {
    T value;
    if (!Read(address, &value, sizeof(value))) return std::nullopt;
    return value;
  }

 private:
  const MemoryImage* const image_;
  std::optional<uint64_t> phys_base_;
  std::optional<uint64_t> page_tables_;  // physical
  int levels_ = 4;
  uint64_t kaslr_offset_ = 0;
};

}  // namespace stasis

#endif  // STASIS_TOOLS_INSPECT_KERNEL_MEMORY_H_
