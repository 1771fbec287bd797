#include "vmm/dump/vmcoreinfo.h"

#include <elf.h>

#include <algorithm>
#include <cstring>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "vmm/dump/format.h"
#include "vmm/dump/touched_pages.h"

namespace stasis::dump {
namespace {

constexpr char kBegin[] = "OSRELEASE=";
constexpr size_t kNameBytes = sizeof(kVmcoreInfoNoteName);  // with its zero: 11
constexpr size_t kNamePadded = 12;
constexpr size_t kHeaderBytes = sizeof(Elf64_Nhdr) + kNamePadded;

// The note's text if `address` begins one.
std::optional<std::string> NoteAt(const GuestMemory& memory, GuestAddress address) {
  uint8_t header[kHeaderBytes];
  if (!memory.Read(address, header, sizeof(header))) return std::nullopt;
  Elf64_Nhdr note;
  std::memcpy(&note, header, sizeof(note));
  if (note.n_namesz != kNameBytes || note.n_descsz == 0 || note.n_descsz > kMostVmcoreInfoBytes ||
      std::memcmp(header + sizeof(note), kVmcoreInfoNoteName, kNameBytes) != 0) {
    return std::nullopt;
  }
  std::string text(note.n_descsz, 0);
  if (!memory.Read(address + kHeaderBytes, text.data(), text.size())) return std::nullopt;
  if (!absl::StartsWith(text, kBegin)) return std::nullopt;
  return text;
}

}  // namespace

absl::StatusOr<VmcoreInfo> FindVmcoreInfo(const GuestMemory& memory,
                                          const std::optional<VmcoreInfoHint>& hint) {
  if (hint.has_value()) {
    const GuestAddress address(hint->address);
    if (std::optional<std::string> text = NoteAt(memory, address)) {
      return VmcoreInfo{*std::move(text), address, "agent"};
    }
  }
  for (const MemoryRegion& region : memory.regions()) {
    std::optional<VmcoreInfo> found;
    ForEachTouchedRun(region, [&](uint64_t offset, uint64_t length) {
      for (uint64_t at = offset; at < offset + length; at += kPageBytes) {
        const uint8_t* name = region.host + at + sizeof(Elf64_Nhdr);
        if (std::memcmp(name, kVmcoreInfoNoteName, kNameBytes) != 0) continue;
        if (std::optional<std::string> text = NoteAt(memory, region.base + at)) {
          found = VmcoreInfo{*std::move(text), region.base + at, "scan"};
          return false;
        }
      }
      return true;
    });
    if (found.has_value()) return *std::move(found);
  }
  return absl::NotFoundError("the guest's memory holds no VMCOREINFO note");
}

std::optional<std::string> VmcoreInfoValue(absl::string_view text, absl::string_view key) {
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    if (absl::ConsumePrefix(&line, key) && absl::ConsumePrefix(&line, "=")) {
      return std::string(line);
    }
  }
  return std::nullopt;
}

std::optional<int64_t> VmcoreInfoNumber(absl::string_view text, absl::string_view name) {
  const std::optional<std::string> value =
      VmcoreInfoValue(text, absl::StrCat("NUMBER(", name, ")"));
  int64_t number;
  if (!value.has_value() || !absl::SimpleAtoi(*value, &number)) return std::nullopt;
  return number;
}

std::optional<uint64_t> VmcoreInfoSymbol(absl::string_view text, absl::string_view name) {
  const std::optional<std::string> value =
      VmcoreInfoValue(text, absl::StrCat("SYMBOL(", name, ")"));
  uint64_t number;
  if (!value.has_value() || !absl::SimpleHexAtoi(*value, &number)) return std::nullopt;
  return number;
}

}  // namespace stasis::dump
