// KernelTypes: where the fields of a kernel's structures are, by the kernel's own BTF
// (Documentation/bpf/btf.rst), which it carries in memory.
#ifndef STASIS_TOOLS_INSPECT_KERNEL_TYPES_H_
#define STASIS_TOOLS_INSPECT_KERNEL_TYPES_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "tools/inspect/kallsyms.h"
#include "tools/inspect/kernel_memory.h"

struct btf;

namespace stasis {

// Looks names up without making a std::string of them.
struct NameHash {
  using is_transparent = void;
  size_t operator()(std::string_view name) const { return std::hash<std::string_view>()(name); }
};
template <typename T>
using ByName = std::unordered_map<std::string, T, NameHash, std::equal_to<>>;

class KernelTypes {
 public:
  // Between the symbols __start_BTF and __stop_BTF. Errors: NotFound for a kernel without
  // CONFIG_DEBUG_INFO_BTF, InvalidArgument for a BTF that makes no sense.
  static absl::StatusOr<KernelTypes> Load(const KernelMemory& memory, const Kallsyms& symbols);
  // From the bytes of a BTF.
  static absl::StatusOr<KernelTypes> Parse(absl::string_view bytes);

  struct Field {
    uint64_t offset = 0;  // in bytes
    uint64_t size = 0;    // in bytes; of a bit field those that hold it
    int bit_offset = 0;   // within them
    int bit_size = 0;     // 0: no bit field
    bool is_signed = false;
    bool is_pointer = false;
    std::string type;  // name of the structure it is, or points to; empty: of neither
  };

  // The fields of one structure or union; finds each once. As long as the KernelTypes. One thread.
  class Structure {
   public:
    // `path`: names with dots, through structures and unions, named or not ("se.vruntime"). Null if
    // this kernel has no such field.
    const Field* Find(std::string_view path) const;
    const std::string& name() const { return name_; }
    uint64_t size() const { return size_; }  // in bytes; 0 when there is none of this name

   private:
    friend class KernelTypes;
    const btf* types_ = nullptr;
    int32_t id_ = -1;
    std::string name_;
    uint64_t size_ = 0;
    mutable ByName<std::optional<Field>> found_;
  };
  // Of a structure that this kernel does not have: one without fields.
  const Structure& Named(std::string_view type) const;

  std::optional<Field> Find(const std::string& type, const std::string& path) const;
  // Bytes; nothing if this kernel has no such structure.
  std::optional<uint64_t> SizeOf(const std::string& type) const;
  // The names of the structure's own members, in their order; unnamed ones are left out.
  std::vector<std::string> Members(const std::string& type) const;
  // The value that an enumeration gives to `name`.
  std::optional<int64_t> Enumerator(std::string_view name) const;
  // The name that the enumeration `type` gives to a value; empty when it has none.
  std::string EnumeratorName(const std::string& type, int64_t value) const;

 private:
  struct Free {
    void operator()(btf* types) const;
  };

  KernelTypes() = default;
  void Index();

  std::unique_ptr<btf, Free> types_;
  ByName<int32_t> structures_;  // ids by name, unions too
  ByName<int64_t> enumerators_;
  // What was asked for before. One thread.
  mutable ByName<std::unique_ptr<Structure>> named_;
};

}  // namespace stasis

#endif  // STASIS_TOOLS_INSPECT_KERNEL_TYPES_H_
