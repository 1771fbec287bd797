#include "vmm/boot/elf_image.h"

#include <elf.h>

#include <algorithm>
#include <cstring>
#include <string>

#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"

namespace stasis {
namespace {

// Xen's public elfnote.h: the note that carries the PVH entry point.
constexpr uint32_t kXenPhys32Entry = 18;

// The kernel's own limit is 1 GiB (KERNEL_IMAGE_SIZE); physical addresses beyond it are nonsense.
constexpr uint64_t kAddressLimit = uint64_t{4} << 30;

bool InRange(uint64_t offset, uint64_t length, uint64_t size) {
  return offset + length >= offset && offset + length <= size;
}

template <typename T>
T Load(absl::Span<const uint8_t> bytes, uint64_t offset) {
  T value;
  memcpy(&value, bytes.data() + offset, sizeof(T));
  return value;
}

std::string MachineName(uint16_t machine) {
  switch (machine) {
    case EM_X86_64:
      return "x86_64";
    case EM_386:
      return "i386";
    case EM_AARCH64:
      return "arm64";
    case EM_ARM:
      return "arm";
    case EM_RISCV:
      return "riscv";
    case EM_PPC64:
      return "powerpc64";
    case EM_S390:
      return "s390";
    default:
      return absl::StrFormat("machine %d", machine);
  }
}

absl::Status CheckHeader(const Elf64_Ehdr& header, uint64_t size) {
  if (header.e_machine != EM_X86_64) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "wrong architecture: an ELF file for %s, needed is x86_64", MachineName(header.e_machine)));
  }
  if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_ident[EI_DATA] != ELFDATA2LSB) {
    return absl::InvalidArgumentError("wrong architecture: not a 64-bit little-endian ELF file");
  }
  if (header.e_type == ET_REL) {
    return absl::InvalidArgumentError(
        "not a kernel: a relocatable ELF object (a module or .o file)");
  }
  if (header.e_type != ET_EXEC && header.e_type != ET_DYN) {
    return absl::InvalidArgumentError(
        absl::StrFormat("not a kernel: an ELF file of type %d (a core dump?)", header.e_type));
  }
  if (header.e_phnum == 0 || header.e_phentsize != sizeof(Elf64_Phdr)) {
    return absl::InvalidArgumentError(
        absl::StrFormat("not a kernel: an ELF file with %d program headers of %d bytes",
                        header.e_phnum, header.e_phentsize));
  }
  if (!InRange(header.e_phoff, uint64_t{header.e_phnum} * sizeof(Elf64_Phdr), size)) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "truncated ELF file: program headers at %d, file has %d bytes", header.e_phoff, size));
  }
  return absl::OkStatus();
}

absl::Status AddSegment(const Elf64_Phdr& header, absl::Span<const uint8_t> bytes,
                        ElfImage* image) {
  if (header.p_memsz == 0) return absl::OkStatus();
  if (header.p_filesz > header.p_memsz) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "bad ELF segment: %d bytes in the file, %d in memory", header.p_filesz, header.p_memsz));
  }
  if (!InRange(header.p_offset, header.p_filesz, bytes.size())) {
    return absl::InvalidArgumentError(
        absl::StrFormat("truncated ELF file: a segment ends at %d, file has %d bytes",
                        header.p_offset + header.p_filesz, bytes.size()));
  }
  if (!InRange(header.p_paddr, header.p_memsz, kAddressLimit)) {
    return absl::InvalidArgumentError(
        absl::StrFormat("bad ELF segment: physical address %#x, %d bytes: above 4 GiB",
                        header.p_paddr, header.p_memsz));
  }
  image->segments.push_back({GuestAddress(header.p_paddr),
                             bytes.subspan(header.p_offset, header.p_filesz), header.p_memsz});
  return absl::OkStatus();
}

// Walks the notes of one PT_NOTE; one that does not fit ends the walk, notes are optional.
std::optional<uint32_t> FindPvhEntry(absl::Span<const uint8_t> notes) {
  constexpr absl::string_view kXen("Xen\0", 4);
  while (notes.size() >= sizeof(Elf64_Nhdr)) {
    const auto note = Load<Elf64_Nhdr>(notes, 0);
    const uint64_t name = (uint64_t{note.n_namesz} + 3) & ~uint64_t{3};
    const uint64_t length = sizeof(note) + name + ((uint64_t{note.n_descsz} + 3) & ~uint64_t{3});
    if (length > notes.size()) return std::nullopt;
    if (note.n_type == kXenPhys32Entry && note.n_namesz == kXen.size() && note.n_descsz >= 4 &&
        memcmp(notes.data() + sizeof(note), kXen.data(), kXen.size()) == 0) {
      return Load<uint32_t>(notes, sizeof(note) + name);
    }
    notes.remove_prefix(length);
  }
  return std::nullopt;
}

// vmlinux names its entry by physical address; other builds by the virtual one.
absl::StatusOr<GuestAddress> PhysicalEntry(uint64_t entry, const ElfImage& image,
                                           absl::Span<const Elf64_Phdr> headers) {
  for (const LoadSegment& segment : image.segments) {
    if (entry >= segment.address.value() &&
        entry - segment.address.value() < segment.bytes.size()) {
      return GuestAddress(entry);
    }
  }
  for (const Elf64_Phdr& header : headers) {
    if (header.p_type == PT_LOAD && entry >= header.p_vaddr &&
        entry - header.p_vaddr < header.p_filesz) {
      return GuestAddress(header.p_paddr + (entry - header.p_vaddr));
    }
  }
  return absl::InvalidArgumentError(
      absl::StrFormat("bad ELF file: entry point %#x lies in no segment", entry));
}

}  // namespace

absl::StatusOr<ElfImage> ParseElfKernel(absl::Span<const uint8_t> bytes) {
  if (bytes.size() < sizeof(Elf64_Ehdr) || memcmp(bytes.data(), ELFMAG, SELFMAG) != 0) {
    return absl::InvalidArgumentError("truncated ELF file, or none");
  }
  const auto header = Load<Elf64_Ehdr>(bytes, 0);
  if (auto status = CheckHeader(header, bytes.size()); !status.ok()) return status;

  ElfImage image;
  std::vector<Elf64_Phdr> headers(header.e_phnum);
  memcpy(headers.data(), bytes.data() + header.e_phoff, headers.size() * sizeof(Elf64_Phdr));
  for (const Elf64_Phdr& segment : headers) {
    if (segment.p_type == PT_INTERP) {
      return absl::InvalidArgumentError("not a kernel: an ELF program for user space");
    }
    if (segment.p_type == PT_LOAD) {
      if (auto status = AddSegment(segment, bytes, &image); !status.ok()) return status;
    } else if (segment.p_type == PT_NOTE && !image.pvh_entry &&
               InRange(segment.p_offset, segment.p_filesz, bytes.size())) {
      image.pvh_entry = FindPvhEntry(bytes.subspan(segment.p_offset, segment.p_filesz));
    }
  }
  if (image.segments.empty()) {
    return absl::InvalidArgumentError("not a kernel: an ELF file with nothing to load");
  }
  std::sort(image.segments.begin(), image.segments.end(),
            [](const LoadSegment& a, const LoadSegment& b) { return a.address < b.address; });
  for (size_t i = 1; i < image.segments.size(); ++i) {
    const LoadSegment& before = image.segments[i - 1];
    if (before.address + before.memory_size > image.segments[i].address) {
      return absl::InvalidArgumentError(
          absl::StrFormat("bad ELF file: segments overlap at physical address %#x",
                          image.segments[i].address.value()));
    }
  }
  auto entry = PhysicalEntry(header.e_entry, image, headers);
  if (!entry.ok()) return entry.status();
  image.entry = *entry;
  return image;
}

}  // namespace stasis
