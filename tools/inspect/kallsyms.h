// Kallsyms: the symbols that a dumped kernel carries itself (kernel/kallsyms.c,
// scripts/kallsyms.c).
#ifndef STASIS_TOOLS_INSPECT_KALLSYMS_H_
#define STASIS_TOOLS_INSPECT_KALLSYMS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "tools/inspect/kernel_memory.h"

namespace stasis {

// Read once, constant then. Of the kernel image alone: modules have tables of their own.
class Kallsyms {
 public:
  // The tables stand where VMCOREINFO says (since Linux 6.0). Errors: NotFound when it does not
  // say, InvalidArgument for tables that make no sense.
  static absl::StatusOr<Kallsyms> Load(const KernelMemory& memory);

  // From the symbol table of the vmlinux at `path`, moved as the dump's kernel is. Errors, with the
  // path: errno of open; InvalidArgument for what is no vmlinux, is stripped, or is another kernel's
  // (by the build ID, where VMCOREINFO has it).
  static absl::StatusOr<Kallsyms> LoadVmlinux(const std::string& path, const KernelMemory& memory);

  struct Place {
    std::string name;
    uint64_t offset = 0;  // from the symbol
    uint64_t size = 0;    // to the next symbol
  };
  // The symbol that `address` lies in: nothing outside of the kernel image.
  std::optional<Place> Find(uint64_t address) const;
  std::optional<uint64_t> Address(absl::string_view name) const;
  // "schedule+0x27/0xc0"; "0x..." without a symbol.
  std::string Describe(uint64_t address) const;
  bool InText(uint64_t address) const { return address >= text_begin_ && address < text_end_; }
  size_t size() const { return addresses_.size(); }

 private:
  Kallsyms() = default;
  std::string Name(size_t index) const;
  bool HasName(size_t index, absl::string_view name) const;
  // False without _stext and _etext.
  bool FindText();

  std::vector<uint64_t> addresses_;    // ascending
  std::vector<uint32_t> name_starts_;  // in names_, behind the length
  std::vector<uint16_t> name_lengths_;
  std::string names_;
  std::vector<std::string> tokens_;  // 256
  uint64_t text_begin_ = 0;
  uint64_t text_end_ = 0;
};

}  // namespace stasis

#endif  // STASIS_TOOLS_INSPECT_KALLSYMS_H_
