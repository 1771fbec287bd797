#include "tools/inspect/kernel_types.h"

#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace stasis {
namespace {

constexpr uint64_t kMostBytes = 64 << 20;
constexpr int kDeepest = 32;  // of types within types
constexpr int kMostMembers = 20000;

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

// The member `name` of a structure or union, or of an unnamed one in it. `budget`: how many members
// may still be looked at, as a guest's types may hold each other without end.
std::optional<Place> Member(const btf* types, int32_t id, std::string_view name, int depth,
                            int* budget) {
  const btf_type* type = btf__type_by_id(types, Strip(types, id));
  if (type == nullptr || !btf_is_composite(type) || depth > kDeepest) return std::nullopt;
  for (int i = 0; i < btf_vlen(type) && --*budget > 0; ++i) {
    const btf_member& member = btf_members(type)[i];
    const char* its_name = btf__name_by_offset(types, member.name_off);
    const Place place{btf_member_bit_offset(type, i),
                      static_cast<int>(btf_member_bitfield_size(type, i)),
                      static_cast<int32_t>(member.type)};
    if (its_name != nullptr && *its_name != '\0') {
      if (name == its_name) return place;
      continue;
    }
    if (auto inner = Member(types, place.type, name, depth + 1, budget)) {
      inner->bits += place.bits;
      return inner;
    }
  }
  return std::nullopt;
}

// Calls visit(name, value) until it returns false; of a type that is no enumeration never.
template <typename Visit>
void ForEachEnumerator(const btf* types, const btf_type* type, Visit visit) {
  for (int i = 0; btf_is_enum(type) && i < btf_vlen(type); ++i) {
    const auto& entry = btf_enum(type)[i];
    const char* name = btf__name_by_offset(types, entry.name_off);
    if (name != nullptr && !visit(name, entry.val)) return;
  }
  for (int i = 0; btf_is_enum64(type) && i < btf_vlen(type); ++i) {
    const auto& entry = btf_enum64(type)[i];
    const char* name = btf__name_by_offset(types, entry.name_off);
    const auto value = static_cast<int64_t>(uint64_t{entry.val_hi32} << 32 | entry.val_lo32);
    if (name != nullptr && !visit(name, value)) return;
  }
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
  types.Index();
  return types;
}

// One pass over all types: a look-up by libbpf is a pass each.
void KernelTypes::Index() {
  const uint32_t count = btf__type_cnt(types_.get());
  for (uint32_t id = 1; id < count; ++id) {
    const btf_type* type = btf__type_by_id(types_.get(), id);
    if (type == nullptr) continue;
    if (btf_is_composite(type)) {
      const char* name = btf__name_by_offset(types_.get(), type->name_off);
      // The first of a name, and a structure before a union.
      if (name == nullptr || *name == '\0') continue;
      const auto [entry, is_new] = structures_.try_emplace(name, id);
      if (!is_new && btf_is_struct(type) &&
          btf_is_union(btf__type_by_id(types_.get(), entry->second))) {
        entry->second = static_cast<int32_t>(id);
      }
    }
    ForEachEnumerator(types_.get(), type, [&](const char* name, int64_t value) {
      enumerators_.try_emplace(name, value);
      return true;
    });
  }
}

const KernelTypes::Structure& KernelTypes::Named(std::string_view type) const {
  const auto known = named_.find(type);
  if (known != named_.end()) return *known->second;
  auto structure = std::make_unique<Structure>();
  structure->types_ = types_.get();
  structure->name_ = std::string(type);
  if (const auto id = structures_.find(type); id != structures_.end()) {
    structure->id_ = id->second;
    structure->size_ = btf__type_by_id(types_.get(), id->second)->size;
  }
  return *named_.emplace(type, std::move(structure)).first->second;
}

const KernelTypes::Field* KernelTypes::Structure::Find(std::string_view path) const {
  const auto known = found_.find(path);
  if (known != found_.end()) return known->second.has_value() ? &*known->second : nullptr;
  std::optional<Field>& entry = found_[std::string(path)];
  if (id_ < 0) return nullptr;
  Place place{.bits = 0, .bit_size = 0, .type = id_};
  int budget = kMostMembers;
  for (size_t at = 0; at <= path.size();) {
    const size_t dot = std::min(path.find('.', at), path.size());
    const auto member = Member(types_, place.type, path.substr(at, dot - at), 0, &budget);
    if (!member.has_value()) return nullptr;
    place = {.bits = place.bits + member->bits, .bit_size = member->bit_size, .type = member->type};
    at = dot + 1;
  }
  const int64_t size = btf__resolve_size(types_, place.type);
  if (size < 0) return nullptr;
  Field field{.offset = place.bits / 8,
              .size = static_cast<uint64_t>(size),
              .bit_offset = static_cast<int>(place.bits % 8),
              .bit_size = place.bit_size,
              .type = StructureName(types_, place.type)};
  const btf_type* scalar = btf__type_by_id(types_, Strip(types_, place.type));
  if (scalar != nullptr && btf_is_int(scalar)) {
    field.is_signed = (btf_int_encoding(scalar) & BTF_INT_SIGNED) != 0;
  }
  field.is_pointer = scalar != nullptr && btf_is_ptr(scalar);
  if (field.bit_size > 0) field.size = (field.bit_offset + field.bit_size + 7) / 8;
  entry = std::move(field);
  return &*entry;
}

std::optional<KernelTypes::Field> KernelTypes::Find(const std::string& type,
                                                    const std::string& path) const {
  const Field* field = Named(type).Find(path);
  return field == nullptr ? std::nullopt : std::optional<Field>(*field);
}

std::optional<uint64_t> KernelTypes::SizeOf(const std::string& type) const {
  const auto id = structures_.find(type);
  if (id == structures_.end()) return std::nullopt;
  return btf__type_by_id(types_.get(), id->second)->size;
}

std::vector<std::string> KernelTypes::Members(const std::string& type) const {
  std::vector<std::string> names;
  const auto id = structures_.find(type);
  if (id == structures_.end()) return names;
  const btf_type* structure = btf__type_by_id(types_.get(), id->second);
  for (int i = 0; i < btf_vlen(structure); ++i) {
    const char* name = btf__name_by_offset(types_.get(), btf_members(structure)[i].name_off);
    if (name != nullptr && *name != '\0') names.emplace_back(name);
  }
  return names;
}

std::optional<int64_t> KernelTypes::Enumerator(std::string_view name) const {
  const auto found = enumerators_.find(name);
  return found == enumerators_.end() ? std::nullopt : std::optional<int64_t>(found->second);
}

std::string KernelTypes::EnumeratorName(const std::string& type, int64_t value) const {
  std::string found;
  for (const int kind : {int{BTF_KIND_ENUM}, int{BTF_KIND_ENUM64}}) {
    const int32_t id = btf__find_by_name_kind(types_.get(), type.c_str(), kind);
    if (id < 0) continue;
    ForEachEnumerator(types_.get(), btf__type_by_id(types_.get(), id),
                      [&](const char* name, int64_t its_value) {
                        if (its_value == value) found = name;
                        return found.empty();
                      });
  }
  return found;
}

}  // namespace stasis
