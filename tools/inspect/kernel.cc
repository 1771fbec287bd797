#include "tools/inspect/kernel.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"

namespace stasis {
namespace {

constexpr size_t kLongestText = 255;
constexpr uint64_t kPageBytes = 4096;
constexpr uint64_t kMostFetched = 64 << 10;  // the largest structure of a scheduler has some 20 KiB

// Up to a zero, what is not mapped, or `most` bytes.
std::string ReadText(const KernelMemory& memory, uint64_t from, size_t most) {
  std::string text;
  char part[64];
  while (text.size() < most) {
    const uint64_t at = from + text.size();
    // Never beyond a page: the next may not be mapped.
    const size_t count = std::min({sizeof(part), most - text.size(), kPageBytes - at % kPageBytes});
    if (!memory.Read(at, part, count)) break;
    const size_t length = strnlen(part, count);
    text.append(part, length);
    if (length < count) break;
  }
  return text;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Kernel>> Kernel::Open(const MemoryImage* image) {
  absl::StatusOr<Kallsyms> symbols = Kallsyms::Load(KernelMemory(image));
  if (!symbols.ok()) return symbols.status();
  return Open(image, *std::move(symbols));
}

absl::StatusOr<std::unique_ptr<Kernel>> Kernel::Open(const MemoryImage* image, Kallsyms symbols) {
  absl::StatusOr<KernelTypes> types = KernelTypes::Load(KernelMemory(image), symbols);
  if (!types.ok()) return types.status();
  return std::unique_ptr<Kernel>(new Kernel(image, std::move(symbols), *std::move(types)));
}

std::optional<uint64_t> Kernel::Address(std::string_view symbol) const {
  const auto known = addresses_.find(symbol);
  if (known != addresses_.end()) return known->second;
  const auto address = symbols_.Address(absl::string_view(symbol.data(), symbol.size()));
  addresses_.emplace(symbol, address);
  return address;
}

std::optional<uint64_t> Kernel::PerCpuAt(uint64_t pointer, int cpu) const {
  const auto offsets = Address("__per_cpu_offset");
  if (!offsets || cpu < 0) return std::nullopt;
  const auto offset = memory_.Load<uint64_t>(*offsets + sizeof(uint64_t) * cpu);
  if (!offset.has_value()) return std::nullopt;
  return pointer + *offset;
}

std::optional<uint64_t> Kernel::PerCpu(std::string_view symbol, int cpu) const {
  const auto variable = Address(symbol);
  return variable ? PerCpuAt(*variable, cpu) : std::nullopt;
}

std::optional<uint64_t> Kernel::Variable(std::initializer_list<const char*> names,
                                         size_t size) const {
  for (const char* name : names) {
    const auto address = Address(name);
    uint64_t value = 0;
    if (address && size <= sizeof(value) && memory_.Read(*address, &value, size)) return value;
  }
  return std::nullopt;
}

void KernelStruct::Fetch() {
  const uint64_t size = type_->size();
  if (size == 0 || size > kMostFetched) return;
  std::string bytes(size, '\0');
  if (!kernel_->memory().Read(address_, bytes.data(), size)) return;
  bytes_ = std::make_shared<const std::string>(std::move(bytes));
}

const KernelTypes::Field* KernelStruct::Field(std::initializer_list<const char*> paths) const {
  for (const char* path : paths) {
    if (const KernelTypes::Field* field = type_->Find(path); field != nullptr) return field;
  }
  kernel_->NoteMissing(absl::StrCat(type_->name(), ".", paths.size() > 0 ? *paths.begin() : ""));
  return nullptr;
}

bool KernelStruct::ReadAt(uint64_t offset, void* to, size_t length) const {
  if (bytes_ != nullptr && offset <= bytes_->size() && length <= bytes_->size() - offset) {
    memcpy(to, bytes_->data() + offset, length);
    return true;
  }
  return kernel_->memory().Read(address_ + offset, to, length);
}

std::optional<uint64_t> KernelStruct::Number(std::initializer_list<const char*> paths) const {
  const KernelTypes::Field* field = Field(paths);
  if (field == nullptr || field->size == 0 || field->size > sizeof(uint64_t)) return std::nullopt;
  uint64_t value = 0;
  if (!ReadAt(field->offset, &value, field->size)) return std::nullopt;
  int bits = static_cast<int>(field->size) * 8;
  if (field->bit_size > 0) {
    value >>= field->bit_offset;
    bits = field->bit_size;
  }
  if (bits < 64) {
    value &= (uint64_t{1} << bits) - 1;
    if (field->is_signed && (value >> (bits - 1) & 1) != 0) value |= ~uint64_t{0} << bits;
  }
  return value;
}

std::string KernelStruct::Text(const char* path) const {
  const KernelTypes::Field* field = Field({path});
  if (field == nullptr) return "";
  if (field->size == sizeof(uint64_t) && field->type.empty()) {
    // Eight characters, or a pointer to more: with 5 levels of page tables, too, the upper byte of a
    // kernel's address is 0xff (Documentation/arch/x86/x86_64/mm.rst), which no text ends with.
    uint64_t value = 0;
    if (!ReadAt(field->offset, &value, sizeof(value)) || value == 0) return "";
    if (value >> 56 == 0xff) return ReadText(kernel_->memory(), value, kLongestText);
  }
  const size_t most = std::min<size_t>(field->size, kLongestText);
  char text[kLongestText];
  if (bytes_ != nullptr && ReadAt(field->offset, text, most)) {
    return std::string(text, strnlen(text, most));
  }
  return ReadText(kernel_->memory(), address_ + field->offset, most);
}

std::optional<uint64_t> KernelStruct::AddressOf(const char* path) const {
  const KernelTypes::Field* field = Field({path});
  return field == nullptr ? std::nullopt : std::optional<uint64_t>(address_ + field->offset);
}

std::optional<KernelStruct> KernelStruct::Member(const char* path) const {
  const KernelTypes::Field* field = Field({path});
  if (field == nullptr) return std::nullopt;
  return KernelStruct(kernel_, field->type, address_ + field->offset);
}

std::optional<KernelStruct> KernelStruct::Pointed(std::initializer_list<const char*> paths) const {
  const KernelTypes::Field* field = Field(paths);
  uint64_t target = 0;
  if (field == nullptr || !ReadAt(field->offset, &target, sizeof(target)) || target == 0) {
    return std::nullopt;
  }
  return KernelStruct(kernel_, field->type, target);
}

}  // namespace stasis
