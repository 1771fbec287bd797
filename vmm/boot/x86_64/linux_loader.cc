#include "vmm/boot/x86_64/linux_loader.h"

#include <asm/bootparam.h>

#include <algorithm>
#include <cstring>
#include <iterator>

#include "absl/strings/str_format.h"
#include "vmm/boot/x86_64/layout.h"
#include "vmm/boot/x86_64/memory_ranges.h"

namespace stasis {
namespace {

using namespace x86_64;  // NOLINT: the layout's names

constexpr uint64_t kPageSize = 4096;
constexpr uint8_t kLoaderUndefined = 0xff;  // boot.rst, type_of_loader: no assigned number

// early_memremap maps at most 64 pages, and the blob does not start at a page's boundary
// (arch/x86/include/asm/fixmap.h, NR_FIX_BTMAPS).
constexpr uint64_t kDeviceTreeLimit = (256 << 10) - kPageSize;

// Segment descriptors (SDM volume 3, 3.4.5): flat, 4 KiB granular.
constexpr uint64_t kGdt[] = {
    0,
    0,
    0x00af9b000000ffff,  // code: execute/read, accessed, L=1
    0x00cf93000000ffff,  // data: read/write, accessed
    0x00008b000000ffff,  // busy 64-bit TSS, base 0 ...
    0,                   // ... with the upper half of its base
};

// Page table entries (SDM volume 3, 4.5).
constexpr uint64_t kPresentWritable = 0x3;
constexpr uint64_t kLargePage = 0x80;
constexpr uint64_t kEntriesPerTable = 512;
constexpr uint64_t kPageDirectories = 4;  // 1 GiB each

constexpr uint64_t MiB(uint64_t bytes) { return (bytes + (1 << 20) - 1) >> 20; }

absl::Status NoLowMemory() {
  return absl::ResourceExhaustedError(
      "the guest needs RAM from 0 to 640 KiB for the kernel's boot parameters");
}

bool WriteTables(const GuestMemory& memory) {
  using Table = uint64_t[kEntriesPerTable];
  Table tables[2 + kPageDirectories] = {};
  const uint64_t base = kPageTablesAddress.value();
  tables[0][0] = (base + kPageSize) | kPresentWritable;
  for (uint64_t i = 0; i < kPageDirectories; ++i) {
    tables[1][i] = (base + (2 + i) * kPageSize) | kPresentWritable;
    for (uint64_t j = 0; j < kEntriesPerTable; ++j) {
      tables[2 + i][j] = (i << 30 | j << 21) | kLargePage | kPresentWritable;
    }
  }
  return memory.Write(kPageTablesAddress, tables, sizeof(tables)) &&
         memory.Write(kGdtAddress, kGdt, sizeof(kGdt));
}

absl::Status CheckParams(const KernelImage& kernel, const BootParams& params) {
  const uint64_t longest = std::min<uint64_t>(kernel.header().cmdline_size, kCmdlineRoom - 1);
  if (params.cmdline.size() > longest) {
    return absl::InvalidArgumentError(
        absl::StrFormat("kernel command line too long: %d characters, kernel %s takes %d",
                        params.cmdline.size(), kernel.path(), longest));
  }
  if (params.cmdline.find('\0') != std::string::npos) {
    return absl::InvalidArgumentError("kernel command line contains a zero byte");
  }
  if (params.e820.empty() || params.e820.size() > E820_MAX_ENTRIES_ZEROPAGE) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "memory map of %d entries, 1 to %d fit", params.e820.size(), E820_MAX_ENTRIES_ZEROPAGE));
  }
  if (params.device_tree.size() > kDeviceTreeLimit) {
    return absl::InvalidArgumentError(
        absl::StrFormat("device tree of %d bytes: the kernel maps at most %d at boot",
                        params.device_tree.size(), kDeviceTreeLimit));
  }
  return absl::OkStatus();
}

absl::Status WriteKernel(const KernelImage& kernel, const GuestMemory& memory) {
  PreferHugePages(memory, kernel.load_begin(), kernel.load_end() - kernel.load_begin());
  for (const LoadSegment& segment : kernel.segments()) {
    const GuestAddress end = segment.address + segment.memory_size;
    if (segment.address < kHighMemory) {
      return absl::InvalidArgumentError(
          absl::StrFormat("kernel %s wants to be loaded at %#x, below 1 MiB", kernel.path(),
                          segment.address.value()));
    }
    if (!IsRam(memory, segment.address, segment.memory_size) ||
        !FillRange(memory, segment.address, segment.bytes.size(),
                   [&](uint64_t offset, absl::Span<uint8_t> part) {
                     kernel.Copy(segment.bytes.subspan(offset, part.size()), part.data());
                   })) {
      return absl::ResourceExhaustedError(absl::StrFormat(
          "kernel %s does not fit into the guest's memory: it takes %#x to %#x, the guest has %d "
          "MiB; give it more than %d MiB",
          kernel.path(), kernel.load_begin().value(), kernel.load_end().value(),
          memory.size() >> 20, MiB(end.value())));
    }
  }
  return absl::OkStatus();
}

// The highest place below the kernel's limit that the kernel itself does not take. 0: none.
GuestAddress PlaceInitrd(const KernelImage& kernel, const GuestMemory& memory, uint64_t size) {
  const uint64_t limit =
      std::min<uint64_t>(uint64_t{kernel.header().initrd_addr_max} + 1, kEndOf32Bit.value());
  const uint64_t kernel_end = kernel.load_end().value();
  uint64_t best = 0;
  for (const MemoryRange& range : ContiguousRanges(memory)) {
    const uint64_t begin = std::max(range.begin.value(), kernel_end);
    const uint64_t end = std::min(range.end.value(), limit);
    if (end < begin || end - begin < size) continue;
    const uint64_t place = (end - size) & ~(kPageSize - 1);
    if (place >= begin) best = std::max(best, place);
  }
  return GuestAddress(best);
}

absl::StatusOr<GuestAddress> WriteInitrd(const KernelImage& kernel, const GuestMemory& memory,
                                         absl::Span<const uint8_t> initrd) {
  if (initrd.empty()) return GuestAddress(0);
  const GuestAddress place = PlaceInitrd(kernel, memory, initrd.size());
  if (place.value() == 0 || !WriteRange(memory, place, initrd)) {
    return absl::ResourceExhaustedError(absl::StrFormat(
        "initramfs of %d MiB does not fit into the guest's memory of %d MiB beside the kernel, "
        "which ends at %d MiB; give the guest more memory",
        MiB(initrd.size()), memory.size() >> 20, MiB(kernel.load_end().value())));
  }
  return place;
}

bool WriteSetupData(const GuestMemory& memory, absl::Span<const uint8_t> device_tree) {
  setup_data node = {};
  node.type = SETUP_DTB;
  node.len = static_cast<uint32_t>(device_tree.size());
  static_assert(kSetupDataEnd - kSetupDataAddress >= kDeviceTreeLimit + sizeof(setup_data));
  return memory.Store(kSetupDataAddress, node) &&
         memory.Write(kSetupDataAddress + sizeof(node), device_tree.data(), device_tree.size());
}

bool WriteBootParams(const KernelImage& kernel, const GuestMemory& memory, const BootParams& params,
                     GuestAddress initrd) {
  boot_params zero_page = {};
  zero_page.hdr = kernel.header();
  zero_page.hdr.type_of_loader = kLoaderUndefined;
  zero_page.hdr.code32_start = static_cast<uint32_t>(kernel.load_begin().value());
  zero_page.hdr.cmd_line_ptr = static_cast<uint32_t>(kCmdlineAddress.value());
  zero_page.hdr.ramdisk_image = static_cast<uint32_t>(initrd.value());
  zero_page.hdr.ramdisk_size = static_cast<uint32_t>(params.initrd.size());
  zero_page.hdr.setup_data = params.device_tree.empty() ? 0 : kSetupDataAddress.value();
  if (params.rsdp) zero_page.acpi_rsdp_addr = params.rsdp->value();
  zero_page.e820_entries = static_cast<uint8_t>(params.e820.size());
  for (size_t i = 0; i < params.e820.size(); ++i) {
    const E820Entry& entry = params.e820[i];
    zero_page.e820_table[i] = {entry.base.value(), entry.size, entry.type};
  }
  return memory.Store(kBootParamsAddress, zero_page);
}

}  // namespace

std::vector<E820Entry> StandardE820(const GuestMemory& memory) {
  std::vector<E820Entry> entries;
  for (const MemoryRange& range : ContiguousRanges(memory)) {
    if (range.begin < kBaseMemoryEnd) {
      const GuestAddress end = std::min(range.end, kBaseMemoryEnd);
      entries.push_back({range.begin, end - range.begin, E820Entry::kRam});
      entries.push_back({kBaseMemoryEnd, kVideoMemory - kBaseMemoryEnd, E820Entry::kReserved});
      entries.push_back({kFirmwareTables, kHighMemory - kFirmwareTables, E820Entry::kReserved});
    }
    const GuestAddress begin = std::max(range.begin, kHighMemory);
    if (begin < range.end) entries.push_back({begin, range.end - begin, E820Entry::kRam});
  }
  return entries;
}

absl::StatusOr<BootEntry> WriteLongModeTables(const GuestMemory& memory) {
  if (!IsRam(memory, GuestAddress(0), kVideoMemory.value()) || !WriteTables(memory)) {
    return NoLowMemory();
  }
  BootEntry entry;
  entry.cr3 = kPageTablesAddress;
  entry.gdt_base = kGdtAddress;
  entry.gdt_limit = sizeof(kGdt) - 1;
  entry.code_selector = kCodeSelector;
  entry.data_selector = kDataSelector;
  entry.task_selector = kTaskSelector;
  return entry;
}

absl::StatusOr<BootEntry> LoadLinux(const KernelImage& kernel, const GuestMemory& memory,
                                    const BootParams& params) {
  if (auto status = CheckParams(kernel, params); !status.ok()) return status;
  auto entry = WriteLongModeTables(memory);
  if (!entry.ok()) return entry;
  if (auto status = WriteKernel(kernel, memory); !status.ok()) return status;
  auto initrd = WriteInitrd(kernel, memory, params.initrd);
  if (!initrd.ok()) return initrd.status();

  const char* cmdline = params.cmdline.c_str();
  if (!WriteRange(memory, kCmdlineAddress,
                  absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(cmdline),
                                      params.cmdline.size() + 1)) ||
      (!params.device_tree.empty() && !WriteSetupData(memory, params.device_tree)) ||
      !WriteBootParams(kernel, memory, params, *initrd)) {
    return NoLowMemory();
  }
  entry->rip = kernel.entry();
  entry->rsi = kBootParamsAddress;
  entry->kernel_begin = kernel.load_begin();
  entry->kernel_end = kernel.load_end();
  entry->initrd = *initrd;
  return entry;
}

}  // namespace stasis
