// CoreBuilder: dumps of a few pages, made on the spot for tests.
#ifndef STASIS_TOOLS_INSPECT_TESTING_CORE_BUILDER_H_
#define STASIS_TOOLS_INSPECT_TESTING_CORE_BUILDER_H_

#include <elf.h>

#include <cstdint>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "vmm/dump/format.h"

namespace stasis {

// One segment of memory from guest-physical 0 on; the kernel image begins there too (phys_base 0),
// so that its virtual address of `p` is Virtual(p).
class CoreBuilder {
 public:
  explicit CoreBuilder(size_t memory_bytes) : memory_(memory_bytes, '\0') {}

  static constexpr uint64_t Virtual(uint64_t physical) {
    return dump::kX86KernelImageBase + physical;
  }

  template <typename T>
  void Store(uint64_t physical, const T& value) {
    memcpy(memory_.data() + physical, &value, sizeof(value));
  }
  void StoreText(uint64_t physical, const std::string& text) {
    memcpy(memory_.data() + physical, text.data(), text.size());
  }

  void AddNote(const std::string& name, uint32_t type, const std::string& content) {
    Elf64_Nhdr header = {static_cast<Elf64_Word>(name.size() + 1),
                         static_cast<Elf64_Word>(content.size()), type};
    notes_.append(reinterpret_cast<const char*>(&header), sizeof(header));
    notes_ += name;
    notes_ += '\0';
    Pad();
    notes_ += content;
    Pad();
  }
  void AddVmcoreInfo(const std::string& text) { AddNote("VMCOREINFO", 0, text); }
  void AddFacts(const std::string& json) { AddNote("STASIS", dump::kStasisNoteJson, json); }

  std::string Bytes() const {
    const uint64_t notes_at = sizeof(Elf64_Ehdr) + 2 * sizeof(Elf64_Phdr);
    Elf64_Ehdr header = {};
    memcpy(header.e_ident, ELFMAG, SELFMAG);
    header.e_ident[EI_CLASS] = ELFCLASS64;
    header.e_type = ET_CORE;
    header.e_phoff = sizeof(header);
    header.e_phnum = 2;
    Elf64_Phdr programs[2] = {};
    programs[0] = {.p_type = PT_NOTE, .p_offset = notes_at, .p_filesz = notes_.size()};
    programs[1] = {.p_type = PT_LOAD,
                   .p_offset = notes_at + notes_.size(),
                   .p_paddr = 0,
                   .p_filesz = memory_.size()};
    std::string bytes(reinterpret_cast<const char*>(&header), sizeof(header));
    bytes.append(reinterpret_cast<const char*>(programs), sizeof(programs));
    return bytes + notes_ + memory_;
  }

  // Writes `bytes`, or Bytes(), to a file whose name is returned.
  static std::string Write(const std::string& path, const std::string& bytes) {
    std::ofstream(path, std::ios::binary) << bytes;
    return path;
  }

 private:
  void Pad() { notes_.resize((notes_.size() + 3) & ~size_t{3}); }

  std::string memory_;
  std::string notes_;
};

}  // namespace stasis

#endif  // STASIS_TOOLS_INSPECT_TESTING_CORE_BUILDER_H_
