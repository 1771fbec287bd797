// Puts a Linux kernel into guest memory by the 64-bit boot protocol (boot.rst of the kernel).
#ifndef STASIS_VMM_BOOT_X86_64_LINUX_LOADER_H_
#define STASIS_VMM_BOOT_X86_64_LINUX_LOADER_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "vmm/boot/kernel_image.h"
#include "vmm/memory/guest_address.h"
#include "vmm/memory/guest_memory.h"

namespace stasis {

// One line of the memory map in boot_params.
struct E820Entry {
  static constexpr uint32_t kRam = 1;
  static constexpr uint32_t kReserved = 2;

  GuestAddress base;
  uint64_t size = 0;
  uint32_t type = kRam;
};

// The map of a machine with this memory: RAM without the holes of the first MiB (layout.h).
std::vector<E820Entry> StandardE820(const GuestMemory& memory);

struct BootParams {
  std::string cmdline;
  absl::Span<const uint8_t> initrd;       // may be empty
  std::vector<E820Entry> e820;            // at most 128, see StandardE820
  std::optional<GuestAddress> rsdp;       // acpi_rsdp_addr: ACPI tables that the caller writes
  absl::Span<const uint8_t> device_tree;  // SETUP_DTB; empty: none
};

// The state in which the first vCPU starts. Interrupts are off (rflags 2), all general registers
// but rsi are 0, and every data segment is flat.
struct BootEntry {
  GuestAddress rip;
  GuestAddress rsi;  // boot_params
  GuestAddress cr3;  // identity map of the first 4 GiB in 2 MiB pages
  GuestAddress gdt_base;
  uint16_t gdt_limit = 0;
  uint16_t code_selector = 0;  // 64-bit, ring 0
  uint16_t data_selector = 0;  // for DS, ES, SS (and FS, GS)
  uint16_t task_selector = 0;  // busy 64-bit TSS at 0, limit 0xffff

  GuestAddress kernel_begin;  // for a dump: where the kernel was put
  GuestAddress kernel_end;
  GuestAddress initrd;  // 0 without one
};

// Writes the kernel, the initramfs, boot_params, command line, setup_data, page tables and GDT.
// `memory` is fresh: what is not written is taken to be zero (.bss).
// Errors: InvalidArgument (command line longer than the kernel takes, too many e820 entries, a
// device tree larger than the kernel maps), ResourceExhausted (kernel or initramfs larger than the
// memory), each naming sizes and what to change.
absl::StatusOr<BootEntry> LoadLinux(const KernelImage& kernel, const GuestMemory& memory,
                                    const BootParams& params);

// The page tables and the GDT alone, for a payload that is no kernel; rip and rsi are left 0.
// Error: ResourceExhausted if there is no RAM below 640 KiB.
absl::StatusOr<BootEntry> WriteLongModeTables(const GuestMemory& memory);

}  // namespace stasis

#endif  // STASIS_VMM_BOOT_X86_64_LINUX_LOADER_H_
