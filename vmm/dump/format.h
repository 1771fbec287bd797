// The constants of the dump file (docs/dump-format.md), for its writer and its readers.
#ifndef STASIS_VMM_DUMP_FORMAT_H_
#define STASIS_VMM_DUMP_FORMAT_H_

#include <cstddef>
#include <cstdint>

namespace stasis::dump {

// `format` in the JSON; raised by a change that an older reader would misunderstand.
inline constexpr char kFormat[] = "stasis.dump/1";

// Notes, by ELF note name and type.
inline constexpr char kCoreNoteName[] = "CORE";  // type NT_PRSTATUS, one per vCPU
inline constexpr char kQemuNoteName[] = "QEMU";  // type kQemuNoteType, one per vCPU
inline constexpr uint32_t kQemuNoteType = 0;
inline constexpr char kVmcoreInfoNoteName[] = "VMCOREINFO";  // the guest's, verbatim
inline constexpr uint32_t kVmcoreInfoNoteType = 0;
inline constexpr char kStasisNoteName[] = "STASIS";
// The type is the version of the note's content: a JSON object in UTF-8, with spaces behind it. No
// small number: readers that look at types alone would take 1 for NT_PRSTATUS.
inline constexpr uint32_t kStasisNoteJson = 0x53540001;  // "ST", version 1

// x86_64: struct elf_prstatus (<linux/elfcore.h>) and QEMU's QEMUCPUState
// (target/i386/arch_dump.c).
inline constexpr size_t kX86PrStatusBytes = 336;
inline constexpr size_t kX86QemuStateBytes = 440;

// x86_64: where the kernel image is mapped (Documentation/x86/x86_64/mm.rst), and how far at most.
inline constexpr uint64_t kX86KernelImageBase = 0xffffffff80000000;
inline constexpr uint64_t kX86KernelImageMostBytes = uint64_t{1} << 30;

// Segments begin at multiples of this in the file.
inline constexpr uint64_t kPageBytes = 4096;

// Names of files: stasis-<UTC time>-<process id>-<trigger>.vmcore; while being written with this
// behind it.
inline constexpr char kExtension[] = ".vmcore";
inline constexpr char kTemporarySuffix[] = ".part";

}  // namespace stasis::dump

#endif  // STASIS_VMM_DUMP_FORMAT_H_
