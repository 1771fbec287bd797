#include "tools/inspect/kernel_memory.h"

#include <algorithm>

#include "vmm/dump/format.h"
#include "vmm/dump/vmcoreinfo.h"

namespace stasis {
namespace {

constexpr uint64_t kPageBytes = 4096;
constexpr uint64_t kPresent = 1;
constexpr uint64_t kLargePage = uint64_t{1} << 7;      // Intel SDM vol. 3A, 4.5
constexpr uint64_t kAddressBits = 0x000ffffffffff000;  // of an entry
constexpr int kBitsPerLevel = 9;

}  // namespace

KernelMemory::KernelMemory(const MemoryImage* image) : image_(image) {
  const absl::string_view info = image->vmcoreinfo();
  if (const auto base = dump::VmcoreInfoNumber(info, "phys_base")) {
    phys_base_ = static_cast<uint64_t>(*base);
  }
  if (dump::VmcoreInfoNumber(info, "pgtable_l5_enabled").value_or(0) == 1) levels_ = 5;
  if (const auto offset = dump::VmcoreInfoValue(info, "KERNELOFFSET")) {
    kaslr_offset_ = strtoull(offset->c_str(), nullptr, 16);
  }
  if (const auto tables = dump::VmcoreInfoSymbol(info, "swapper_pg_dir")) {
    page_tables_ = Translate(*tables);
  }
}

std::optional<uint64_t> KernelMemory::Translate(uint64_t address) const {
  if (!phys_base_.has_value()) return std::nullopt;
  const uint64_t in_image = address - dump::kX86KernelImageBase;
  if (address >= dump::kX86KernelImageBase && in_image < dump::kX86KernelImageMostBytes) {
    return in_image + *phys_base_;
  }
  if (!page_tables_.has_value()) return std::nullopt;
  uint64_t table = *page_tables_;
  for (int level = levels_; level > 0; --level) {
    const int shift = 12 + (level - 1) * kBitsPerLevel;
    const uint64_t index = (address >> shift) & ((1 << kBitsPerLevel) - 1);
    uint64_t entry;
    if (!image_->ReadPhysical(table + 8 * index, &entry, sizeof(entry))) return std::nullopt;
    if ((entry & kPresent) == 0) return std::nullopt;
    const uint64_t within = (uint64_t{1} << shift) - 1;
    // Large pages stand in the second and third level.
    if (level == 1 || (level <= 3 && (entry & kLargePage) != 0)) {
      return (entry & kAddressBits & ~within) | (address & within);
    }
    table = entry & kAddressBits;
  }
  return std::nullopt;
}

bool KernelMemory::Read(uint64_t address, void* to, size_t length) const {
  auto* target = static_cast<char*>(to);
  while (length > 0) {
    const size_t count = std::min<size_t>(length, kPageBytes - address % kPageBytes);
    const std::optional<uint64_t> physical = Translate(address);
    if (!physical.has_value() || !image_->ReadPhysical(*physical, target, count)) return false;
    address += count;
    target += count;
    length -= count;
  }
  return true;
}

}  // namespace stasis
