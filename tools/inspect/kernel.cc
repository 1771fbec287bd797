#include "tools/inspect/kernel.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace stasis {
namespace {

constexpr size_t kLongestText = 255;

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

std::optional<uint64_t> Kernel::PerCpu(const std::string& symbol, int cpu) const {
  const auto offsets = symbols_.Address("__per_cpu_offset");
  const auto variable = symbols_.Address(symbol);
  if (!offsets || !variable || cpu < 0) return std::nullopt;
  const auto offset = memory_.Load<uint64_t>(*offsets + sizeof(uint64_t) * cpu);
  if (!offset.has_value()) return std::nullopt;
  return *variable + *offset;
}

std::optional<uint64_t> KernelStruct::Number(std::initializer_list<const char*> paths) const {
  for (const char* path : paths) {
    const auto field = kernel_->types().Find(type_, path);
    if (!field.has_value()) continue;
    if (field->size == 0 || field->size > sizeof(uint64_t)) return std::nullopt;
    uint64_t value = 0;
    if (!kernel_->memory().Read(address_ + field->offset, &value, field->size)) {
      return std::nullopt;
    }
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
  kernel_->NoteMissing(absl::StrCat(type_, ".", paths.size() > 0 ? *paths.begin() : ""));
  return std::nullopt;
}

std::string KernelStruct::Text(const char* path) const {
  const auto field = kernel_->types().Find(type_, path);
  if (!field.has_value()) {
    kernel_->NoteMissing(absl::StrCat(type_, ".", path));
    return "";
  }
  uint64_t from = address_ + field->offset;
  size_t most = std::min<size_t>(field->size, kLongestText);
  if (field->size == sizeof(uint64_t) && field->type.empty()) {
    // Eight characters, or a pointer to more: a kernel's address has its upper bits set.
    const uint64_t value = kernel_->memory().Load<uint64_t>(from).value_or(0);
    if (value == 0) return "";
    if (value >> 47 == 0x1ffff) {
      from = value;
      most = kLongestText;
    }
  }
  std::string text;
  while (text.size() < most) {
    const auto c = kernel_->memory().Load<char>(from + text.size());
    if (!c.has_value() || *c == '\0') break;
    text += *c;
  }
  return text;
}

std::optional<uint64_t> KernelStruct::AddressOf(const char* path) const {
  const auto field = kernel_->types().Find(type_, path);
  if (!field.has_value()) {
    kernel_->NoteMissing(absl::StrCat(type_, ".", path));
    return std::nullopt;
  }
  return address_ + field->offset;
}

std::optional<KernelStruct> KernelStruct::Member(const char* path) const {
  const auto field = kernel_->types().Find(type_, path);
  if (!field.has_value()) {
    kernel_->NoteMissing(absl::StrCat(type_, ".", path));
    return std::nullopt;
  }
  return KernelStruct(kernel_, field->type, address_ + field->offset);
}

std::optional<KernelStruct> KernelStruct::Pointed(std::initializer_list<const char*> paths) const {
  for (const char* path : paths) {
    const auto field = kernel_->types().Find(type_, path);
    if (!field.has_value()) continue;
    const auto target = kernel_->memory().Load<uint64_t>(address_ + field->offset);
    if (!target.has_value() || *target == 0) return std::nullopt;
    return KernelStruct(kernel_, field->type, *target);
  }
  kernel_->NoteMissing(absl::StrCat(type_, ".", paths.size() > 0 ? *paths.begin() : ""));
  return std::nullopt;
}

}  // namespace stasis
