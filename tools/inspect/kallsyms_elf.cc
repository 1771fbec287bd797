// Kallsyms from a vmlinux: for dumps whose kernel carries no symbols that could be found.
#include <fcntl.h>
#include <gelf.h>
#include <libelf.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "tools/inspect/kallsyms.h"
#include "vmm/base/file_descriptor.h"
#include "vmm/dump/format.h"
#include "vmm/dump/vmcoreinfo.h"

namespace stasis {
namespace {

constexpr size_t kLongestName = 1023;
constexpr size_t kMostSymbols = 4'000'000;

struct ElfEnd {
  void operator()(Elf* elf) const { elf_end(elf); }
};
using ElfHandle = std::unique_ptr<Elf, ElfEnd>;

// NT_GNU_BUILD_ID in hexadecimal digits; empty without.
std::string BuildId(Elf* elf) {
  for (Elf_Scn* section = nullptr; (section = elf_nextscn(elf, section)) != nullptr;) {
    GElf_Shdr header;
    if (gelf_getshdr(section, &header) == nullptr || header.sh_type != SHT_NOTE) continue;
    Elf_Data* data = elf_getdata(section, nullptr);
    if (data == nullptr) continue;
    GElf_Nhdr note;
    size_t name = 0, content = 0;
    for (size_t at = 0; (at = gelf_getnote(data, at, &note, &name, &content)) > 0;) {
      const auto* bytes = static_cast<const char*>(data->d_buf);
      if (note.n_type != NT_GNU_BUILD_ID || note.n_namesz != 4 ||
          std::string(bytes + name, 3) != "GNU") {
        continue;
      }
      return absl::BytesToHexString(absl::string_view(bytes + content, note.n_descsz));
    }
  }
  return "";
}

}  // namespace

absl::StatusOr<Kallsyms> Kallsyms::LoadVmlinux(const std::string& path,
                                               const KernelMemory& memory) {
  auto bad = [&path](absl::string_view what) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", what));
  };
  FileDescriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) return absl::ErrnoToStatus(errno, path);
  elf_version(EV_CURRENT);
  ElfHandle elf(elf_begin(file.get(), ELF_C_READ_MMAP, nullptr));
  GElf_Ehdr header;
  if (elf == nullptr || elf_kind(elf.get()) != ELF_K_ELF ||
      gelf_getehdr(elf.get(), &header) == nullptr) {
    return bad("no ELF file; expected the vmlinux that the kernel's image was made from");
  }
  const auto of_dump = dump::VmcoreInfoValue(memory.image().vmcoreinfo(), "BUILD-ID");
  const std::string of_file = BuildId(elf.get());
  if (of_dump.has_value() && !of_file.empty() && *of_dump != of_file) {
    return bad(absl::StrCat("another kernel's: its build ID is ", of_file, ", the dump's kernel has ",
                            *of_dump));
  }

  std::vector<std::pair<uint64_t, std::string>> found;
  for (Elf_Scn* section = nullptr; (section = elf_nextscn(elf.get(), section)) != nullptr;) {
    GElf_Shdr table;
    if (gelf_getshdr(section, &table) == nullptr || table.sh_type != SHT_SYMTAB) continue;
    Elf_Data* data = elf_getdata(section, nullptr);
    if (data == nullptr || table.sh_entsize == 0) continue;
    const size_t count = table.sh_size / table.sh_entsize;
    for (size_t i = 0; i < count && found.size() < kMostSymbols; ++i) {
      GElf_Sym symbol;
      if (gelf_getsym(data, static_cast<int>(i), &symbol) == nullptr) break;
      const int type = GELF_ST_TYPE(symbol.st_info);
      if (symbol.st_shndx == SHN_UNDEF || type == STT_FILE || type == STT_SECTION) continue;
      const char* name = elf_strptr(elf.get(), table.sh_link, symbol.st_name);
      if (name == nullptr || *name == '\0') continue;
      // What lies outside of the image (per-CPU offsets) is not moved by KASLR.
      const uint64_t moved =
          symbol.st_value >= dump::kX86KernelImageBase ? memory.kaslr_offset() : 0;
      found.emplace_back(symbol.st_value + moved, std::string(name).substr(0, kLongestName));
    }
  }
  if (found.empty()) return bad("no symbol table; expected a vmlinux that is not stripped");
  std::stable_sort(found.begin(), found.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });

  // In the form of the kernel's own tables, with one token for each character.
  Kallsyms symbols;
  for (int i = 0; i < 256; ++i) symbols.tokens_.emplace_back(1, static_cast<char>(i));
  for (const auto& [address, name] : found) {
    symbols.addresses_.push_back(address);
    symbols.name_starts_.push_back(static_cast<uint32_t>(symbols.names_.size()));
    symbols.name_lengths_.push_back(static_cast<uint16_t>(name.size() + 1));
    absl::StrAppend(&symbols.names_, "?", name);  // its type is nobody's business
  }
  if (!symbols.FindText()) return bad("no symbols _stext and _etext; expected a kernel's vmlinux");
  return symbols;
}

}  // namespace stasis
