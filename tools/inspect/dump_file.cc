#include "tools/inspect/dump_file.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <cstring>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "vmm/base/file_descriptor.h"
#include "vmm/dump/format.h"

namespace stasis {
namespace {

absl::string_view Bytes(const Mapping& mapping) {
  return {reinterpret_cast<const char*>(mapping.bytes().data()), mapping.bytes().size()};
}

// A part of `bytes`, if it lies in them.
std::optional<absl::string_view> Part(absl::string_view bytes, uint64_t offset, uint64_t length) {
  if (offset > bytes.size() || length > bytes.size() - offset) return std::nullopt;
  return bytes.substr(offset, length);
}

template <typename T>
std::optional<T> Take(absl::string_view bytes, uint64_t offset) {
  const std::optional<absl::string_view> part = Part(bytes, offset, sizeof(T));
  if (!part.has_value()) return std::nullopt;
  T value;
  memcpy(&value, part->data(), sizeof(value));
  return value;
}

}  // namespace

absl::StatusOr<std::unique_ptr<DumpFile>> DumpFile::Open(const std::string& path) {
  const FileDescriptor fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return absl::ErrnoToStatus(errno, absl::StrCat("open ", path));
  struct stat file;
  if (fstat(fd.get(), &file) != 0) return absl::ErrnoToStatus(errno, absl::StrCat("stat ", path));
  if (!S_ISREG(file.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": not a regular file"));
  }
  std::unique_ptr<DumpFile> dump(new DumpFile(path));
  absl::StatusOr<Mapping> mapping = Mapping::OfFile(fd.get(), file.st_size, path);
  if (!mapping.ok()) return mapping.status();
  dump->mapping_ = *std::move(mapping);
  if (absl::Status status = dump->Parse(); !status.ok()) {
    return absl::Status(status.code(), absl::StrCat(path, ": ", status.message()));
  }
  return dump;
}

absl::Status DumpFile::Parse() {
  const absl::string_view bytes = Bytes(mapping_);
  const std::optional<Elf64_Ehdr> header = Take<Elf64_Ehdr>(bytes, 0);
  if (!header.has_value() || memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 ||
      header->e_ident[EI_CLASS] != ELFCLASS64 || header->e_type != ET_CORE) {
    return absl::InvalidArgumentError("not a dump: no 64-bit ELF core file");
  }
  for (uint64_t i = 0; i < header->e_phnum; ++i) {
    const std::optional<Elf64_Phdr> program =
        Take<Elf64_Phdr>(bytes, header->e_phoff + i * sizeof(Elf64_Phdr));
    const std::optional<absl::string_view> content =
        program.has_value() ? Part(bytes, program->p_offset, program->p_filesz) : std::nullopt;
    if (!content.has_value()) {
      return absl::InvalidArgumentError(
          absl::StrFormat("cut short: program header %d of %d points beyond the file's %d bytes", i,
                          header->e_phnum, bytes.size()));
    }
    if (program->p_type == PT_NOTE) {
      if (absl::Status status = ParseNotes(*content); !status.ok()) return status;
    } else if (program->p_type == PT_LOAD) {
      segments_.push_back({program->p_paddr, program->p_filesz, program->p_offset});
    }
  }
  return absl::OkStatus();
}

absl::Status DumpFile::ParseNotes(absl::string_view bytes) {
  const auto padded = [](uint64_t length) { return (length + 3) & ~uint64_t{3}; };
  uint64_t at = 0;
  while (const std::optional<Elf64_Nhdr> note = Take<Elf64_Nhdr>(bytes, at)) {
    at += sizeof(Elf64_Nhdr);
    const std::optional<absl::string_view> name = Part(bytes, at, note->n_namesz);
    at += padded(note->n_namesz);
    const std::optional<absl::string_view> content = Part(bytes, at, note->n_descsz);
    at += padded(note->n_descsz);
    if (!name.has_value() || !content.has_value()) {
      return absl::InvalidArgumentError("damaged: a note is longer than the notes");
    }
    notes_.push_back({std::string(name->substr(0, name->find('\0'))), note->n_type, *content});
    if (notes_.back().name == dump::kVmcoreInfoNoteName) vmcoreinfo_ = *content;
    if (notes_.back().name != dump::kStasisNoteName || note->n_type != dump::kStasisNoteJson) {
      continue;
    }
    facts_ = nlohmann::json::parse(content->begin(), content->end(), nullptr,
                                   /*allow_exceptions=*/false);
    if (!facts_.is_object())
      return absl::InvalidArgumentError("damaged: the STASIS note is no JSON");
  }
  return absl::OkStatus();
}

bool DumpFile::ReadPhysical(uint64_t address, void* to, size_t length) const {
  auto* target = static_cast<char*>(to);
  while (length > 0) {
    const DumpSegment* found = nullptr;
    for (const DumpSegment& segment : segments_) {
      if (address >= segment.physical && address - segment.physical < segment.size) {
        found = &segment;
        break;
      }
    }
    if (found == nullptr) return false;
    const uint64_t offset = address - found->physical;
    const size_t count = std::min<uint64_t>(length, found->size - offset);
    // Parse has seen that the segment lies in the file.
    memcpy(target, mapping_.bytes().data() + found->file_offset + offset, count);
    address += count;
    target += count;
    length -= count;
  }
  return true;
}

}  // namespace stasis
