// Where the boot loader puts what the kernel reads first: the fixed layout of the first MiB.
//
//   0x00000  never written: the kernel reads the BIOS data area (0x400) and must find zeroes
//   0x01000  GDT
//   0x02000  boot_params, the "zero page"
//   0x03000  page tables: PML4, one PDPT, four page directories
//   0x10000  kernel command line
//   0x20000  setup_data list, with the device tree
//   0x9fc00  end of the base memory that e820 names; the last KiB below 640 KiB is reserved
//   0xa0000  nothing (the VGA window of a PC)
//   0xe0000  ACPI tables with the RSDP at the base, or an MP table from 0xf0000
//   0x100000 RAM: the kernel and the initramfs
//
// The kernel keeps the first 64 KiB to itself (CONFIG_X86_RESERVE_LOW), reserves setup_data before
// it allocates, and copies the rest early. Its decompressor writes only to the image's own range
// (up to init_size) and, if it has to change the paging mode, to a trampoline that it restores:
// that is why setup_data lies low and not behind the kernel, where it was seen to be zeroed.
#ifndef STASIS_VMM_BOOT_X86_64_LAYOUT_H_
#define STASIS_VMM_BOOT_X86_64_LAYOUT_H_

#include <cstdint>

#include "vmm/memory/guest_address.h"

namespace stasis::x86_64 {

inline constexpr GuestAddress kGdtAddress{0x1000};
inline constexpr GuestAddress kBootParamsAddress{0x2000};
inline constexpr GuestAddress kPageTablesAddress{0x3000};
inline constexpr GuestAddress kCmdlineAddress{0x10000};
inline constexpr uint64_t kCmdlineRoom = 0x10000;  // terminating zero included
inline constexpr GuestAddress kSetupDataAddress{0x20000};
inline constexpr GuestAddress kSetupDataEnd{0x90000};
inline constexpr GuestAddress kBaseMemoryEnd{0x9fc00};
inline constexpr GuestAddress kVideoMemory{0xa0000};
inline constexpr GuestAddress kFirmwareTables{0xe0000};  // reserved in e820 up to kHighMemory
inline constexpr GuestAddress kHighMemory{0x100000};
inline constexpr GuestAddress kEndOf32Bit{uint64_t{4} << 30};

// Selectors that the 64-bit boot protocol demands (__BOOT_CS, __BOOT_DS), and a task segment, which
// VMX wants to be there.
inline constexpr uint16_t kCodeSelector = 0x10;
inline constexpr uint16_t kDataSelector = 0x18;
inline constexpr uint16_t kTaskSelector = 0x20;

}  // namespace stasis::x86_64

#endif  // STASIS_VMM_BOOT_X86_64_LAYOUT_H_
