#include "tools/inspect/kallsyms.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "vmm/dump/vmcoreinfo.h"

namespace stasis {
namespace {

constexpr uint32_t kMostSymbols = 4'000'000;
constexpr uint64_t kMostNameBytes = 64 << 20;
constexpr uint64_t kMostTokenBytes = 64 << 10;
constexpr size_t kTokens = 256;
constexpr size_t kLongestName = 512;

absl::Status Senseless(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("kallsyms of the dump: ", what));
}

// As much as is mapped of `length` bytes.
std::string ReadUpTo(const KernelMemory& memory, uint64_t address, uint64_t length) {
  std::string bytes;
  char page[4096];
  while (bytes.size() < length) {
    const size_t count = std::min<uint64_t>(sizeof(page), length - bytes.size());
    if (!memory.Read(address + bytes.size(), page, count)) break;
    bytes.append(page, count);
  }
  return bytes;
}

}  // namespace

absl::StatusOr<Kallsyms> Kallsyms::Load(const KernelMemory& memory) {
  const absl::string_view info = memory.image().vmcoreinfo();
  const auto names = dump::VmcoreInfoSymbol(info, "kallsyms_names");
  const auto number = dump::VmcoreInfoSymbol(info, "kallsyms_num_syms");
  const auto tokens = dump::VmcoreInfoSymbol(info, "kallsyms_token_table");
  const auto token_index = dump::VmcoreInfoSymbol(info, "kallsyms_token_index");
  const auto offsets = dump::VmcoreInfoSymbol(info, "kallsyms_offsets");
  const auto base_at = dump::VmcoreInfoSymbol(info, "kallsyms_relative_base");
  if (!memory.usable() || !names || !number || !tokens || !token_index || !offsets) {
    return absl::NotFoundError("the kernel's VMCOREINFO does not tell where its kallsyms are");
  }
  const uint32_t count = memory.Load<uint32_t>(*number).value_or(0);
  if (count == 0 || count > kMostSymbols) return Senseless("no symbols");

  Kallsyms symbols;
  std::vector<int32_t> relative(count);
  if (!memory.Read(*offsets, relative.data(), count * sizeof(int32_t))) {
    return Senseless("offsets are not in the dump");
  }
  // Three ways in turn: downwards from -1 for all that is not per-CPU
  // (CONFIG_KALLSYMS_ABSOLUTE_PERCPU), upwards from the base, and, without a base (seen in 7.2),
  // from the place of the offset itself.
  const uint64_t base = base_at ? memory.Load<uint64_t>(*base_at).value_or(0) : 0;
  const bool downwards = std::count_if(relative.begin(), relative.end(), [](int32_t v) {
                           return v < 0;
                         }) > static_cast<int64_t>(count) / 2;
  for (size_t i = 0; i < relative.size(); ++i) {
    const int64_t value = relative[i];
    uint64_t address = base + static_cast<uint32_t>(value);
    if (!base_at) {
      address = *offsets + i * sizeof(int32_t) + value;
    } else if (downwards) {
      address = value < 0 ? base - 1 - value : static_cast<uint64_t>(value);
    }
    symbols.addresses_.push_back(address);
  }
  if (!std::is_sorted(symbols.addresses_.begin(), symbols.addresses_.end())) {
    return Senseless("addresses are not sorted");
  }

  symbols.names_ = ReadUpTo(memory, *names, std::min(kMostNameBytes, uint64_t{count} * 40));
  size_t at = 0;
  for (uint32_t i = 0; i < count; ++i) {
    auto byte = [&](size_t where) {
      return where < symbols.names_.size() ? static_cast<uint8_t>(symbols.names_[where]) : 0;
    };
    uint32_t length = byte(at++);
    if ((length & 0x80) != 0) length = (length & 0x7f) | byte(at++) << 7;  // ULEB128, since 6.2
    if (length == 0 || at + length > symbols.names_.size()) return Senseless("names end too early");
    symbols.name_starts_.push_back(static_cast<uint32_t>(at));
    symbols.name_lengths_.push_back(static_cast<uint16_t>(length));
    at += length;
  }
  const std::string table = ReadUpTo(memory, *tokens, kMostTokenBytes);
  for (size_t i = 0; i < kTokens; ++i) {
    const auto start = memory.Load<uint16_t>(*token_index + 2 * i);
    const size_t end = start ? table.find('\0', *start) : std::string::npos;
    if (end == std::string::npos) return Senseless("tokens are not in the dump");
    symbols.tokens_.push_back(table.substr(*start, end - *start));
  }
  if (!symbols.FindText()) return Senseless("no _stext and _etext");
  return symbols;
}

bool Kallsyms::FindText() {
  text_begin_ = Address("_stext").value_or(0);
  text_end_ = Address("_etext").value_or(0);
  return text_begin_ != 0 && text_end_ > text_begin_;
}

std::string Kallsyms::Name(size_t index) const {
  std::string name;
  // KSYM_NAME_LEN is 512; a hostile table could make names of any length.
  for (size_t i = 0; i < name_lengths_[index] && name.size() < kLongestName; ++i) {
    name += tokens_[static_cast<uint8_t>(names_[name_starts_[index] + i])];
  }
  name.resize(std::min(name.size(), kLongestName));
  return name.empty() ? name : name.substr(1);  // the type comes first
}

// Name(index) == name, without making the text: most differ in the first token.
bool Kallsyms::HasName(size_t index, absl::string_view name) const {
  bool is_type = true;  // the first character
  for (size_t i = 0; i < name_lengths_[index]; ++i) {
    absl::string_view token = tokens_[static_cast<uint8_t>(names_[name_starts_[index] + i])];
    if (is_type && !token.empty()) {
      token.remove_prefix(1);
      is_type = false;
    }
    if (!absl::ConsumePrefix(&name, token)) return false;
  }
  return name.empty();
}

std::optional<uint64_t> Kallsyms::Address(absl::string_view name) const {
  for (size_t i = 0; i < addresses_.size(); ++i) {
    if (HasName(i, name)) return addresses_[i];
  }
  return std::nullopt;
}

std::optional<Kallsyms::Place> Kallsyms::Find(uint64_t address) const {
  const auto next = std::upper_bound(addresses_.begin(), addresses_.end(), address);
  if (next == addresses_.begin() || next == addresses_.end()) return std::nullopt;
  // Of several names for one address the first.
  const auto first = std::lower_bound(addresses_.begin(), next, *(next - 1));
  return Place{Name(first - addresses_.begin()), address - *first, *next - *first};
}

std::string Kallsyms::Describe(uint64_t address) const {
  const std::optional<Place> place =
      address >= text_begin_ ? Find(address) : std::optional<Place>();
  if (!place.has_value()) return absl::StrFormat("%#x", address);
  return absl::StrFormat("%s+%#x/%#x", place->name, place->offset, place->size);
}

}  // namespace stasis
