#include "tools/inspect/kernel_types.h"

#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace stasis {
namespace {

constexpr uint64_t kMostBytes = 64 << 20;
constexpr int kDeepest = 32;  // of types within types

// Behind typedefs and qualifiers.
int32_t Strip(const btf* types, int32_t id) {
  for (int depth = 0; depth < kDeepest; ++depth) {
    const btf_type* type = btf__type_by_id(types, id);
    if (type == nullptr || !(btf_is_mod(type) || btf_is_typedef(type) || btf_is_type_tag(type))) {
      return id;
    }
    id = static_cast<int32_t>(type->type);
  }
  return id;
}

struct Place {
  uint64_t bits = 0;  // from the beginning
  int bit_size = 0;
  int32_t type = 0;
};

// The member `name` of a structure or union, or of an unnamed one in it.
std::optional<Place> Member(const btf* types, int32_t id, absl::string_view name, int depth) {
  const btf_type* type = btf__type_by_id(types, Strip(types, id));
  if (type == nullptr || !btf_is_composite(type) || depth > kDeepest) return std::nullopt;
  for (int i = 0; i < btf_vlen(type); ++i) {
    const btf_member& member = btf_members(type)[i];
    const char* its_name = btf__name_by_offset(types, member.name_off);
    const Place place{btf_member_bit_offset(type, i),
                      static_cast<int>(btf_member_bitfield_size(type, i)),
                      static_cast<int32_t>(member.type)};
    if (its_name != nullptr && *its_name != '\0') {
      if (name == its_name) return place;
      continue;
    }
    if (auto inner = Member(types, place.type, name, depth + 1)) {
      inner->bits += place.bits;
      return inner;
    }
  }
  return std::nullopt;
}

// Of the structure that a field is, or points to.
std::string StructureName(const btf* types, int32_t id) {
  const btf_type* type = btf__type_by_id(types, Strip(types, id));
  if (type != nullptr && btf_is_ptr(type)) {
    type = btf__type_by_id(types, Strip(types, static_cast<int32_t>(type->type)));
  }
  if (type == nullptr || !(btf_is_composite(type) || btf_is_fwd(type))) return "";
  const char* name = btf__name_by_offset(types, type->name_off);
  return name == nullptr ? "" : name;
}

}  // namespace

void KernelTypes::Free::operator()(btf* types) const { btf__free(types); }

absl::StatusOr<KernelTypes> KernelTypes::Load(const KernelMemory& memory,
                                              const Kallsyms& symbols) {
  const auto begin = symbols.Address("__start_BTF");
  const auto end = symbols.Address("__stop_BTF");
  if (!begin || !end || *end <= *begin) {
    return absl::NotFoundError(
        "the kernel carries no description of its types (CONFIG_DEBUG_INFO_BTF)");
  }
  if (*end - *begin > kMostBytes) return absl::InvalidArgumentError("BTF of the guest: too large");
  std::string bytes(*end - *begin, '\0');
  if (!memory.Read(*begin, bytes.data(), bytes.size())) {
    return absl::InvalidArgumentError("BTF of the guest: a part of it is not in memory");
  }
  return Parse(bytes);
}

absl::StatusOr<KernelTypes> KernelTypes::Parse(absl::string_view bytes) {
  libbpf_set_print(nullptr);  // what is wrong with a guest's BTF is no news for stderr
  KernelTypes types;
  types.types_.reset(btf__new(bytes.data(), static_cast<uint32_t>(bytes.size())));
  if (types.types_ == nullptr) {
    return absl::InvalidArgumentError("BTF of the guest: libbpf cannot read it");
  }
  return types;
}

std::optional<KernelTypes::Field> KernelTypes::Find(const std::string& type,
                                                    const std::string& path) const {
  const auto [entry, is_new] = found_.try_emplace({type, path});
  if (!is_new) return entry->second;
  const btf* types = types_.get();
  int32_t id = btf__find_by_name_kind(types, type.c_str(), BTF_KIND_STRUCT);
  if (id < 0) id = btf__find_by_name_kind(types, type.c_str(), BTF_KIND_UNION);
  if (id < 0) return std::nullopt;
  Place place{.bits = 0, .bit_size = 0, .type = id};
  for (size_t at = 0; at <= path.size();) {
    const size_t dot = std::min(path.find('.', at), path.size());
    const auto member = Member(types, place.type, absl::string_view(path).substr(at, dot - at), 0);
    if (!member.has_value()) return std::nullopt;
    place = {.bits = place.bits + member->bits, .bit_size = member->bit_size, .type = member->type};
    at = dot + 1;
  }
  const int64_t size = btf__resolve_size(types, place.type);
  if (size < 0) return std::nullopt;
  Field field{.offset = place.bits / 8,
              .size = static_cast<uint64_t>(size),
              .bit_offset = static_cast<int>(place.bits % 8),
              .bit_size = place.bit_size,
              .type = StructureName(types, place.type)};
  const btf_type* scalar = btf__type_by_id(types, Strip(types, place.type));
  if (scalar != nullptr && btf_is_int(scalar)) {
    field.is_signed = (btf_int_encoding(scalar) & BTF_INT_SIGNED) != 0;
  }
  if (field.bit_size > 0) field.size = (field.bit_offset + field.bit_size + 7) / 8;
  entry->second = field;
  return field;
}

std::optional<uint64_t> KernelTypes::SizeOf(const std::string& type) const {
  const int32_t id = btf__find_by_name_kind(types_.get(), type.c_str(), BTF_KIND_STRUCT);
  if (id < 0) return std::nullopt;
  return btf__type_by_id(types_.get(), id)->size;
}

std::optional<int64_t> KernelTypes::Enumerator(const std::string& name) const {
  const auto [entry, is_new] = enumerators_.try_emplace(name);
  if (is_new) entry->second = LookUp(name);
  return entry->second;
}

std::optional<int64_t> KernelTypes::LookUp(const std::string& name) const {
  const uint32_t count = btf__type_cnt(types_.get());
  for (uint32_t id = 1; id < count; ++id) {
    const btf_type* type = btf__type_by_id(types_.get(), id);
    for (int i = 0; btf_is_enum(type) && i < btf_vlen(type); ++i) {
      const auto& value = btf_enum(type)[i];
      if (name == btf__name_by_offset(types_.get(), value.name_off)) return value.val;
    }
    for (int i = 0; btf_is_enum64(type) && i < btf_vlen(type); ++i) {
      const auto& value = btf_enum64(type)[i];
      if (name == btf__name_by_offset(types_.get(), value.name_off)) {
        return static_cast<int64_t>(uint64_t{value.val_hi32} << 32 | value.val_lo32);
      }
    }
  }
  return std::nullopt;
}

}  // namespace stasis
