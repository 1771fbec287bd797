// KernelTypes: where the fields of a kernel's structures are, by the kernel's own BTF
// (Documentation/bpf/btf.rst), which it carries in memory.
#ifndef STASIS_TOOLS_INSPECT_KERNEL_TYPES_H_
#define STASIS_TOOLS_INSPECT_KERNEL_TYPES_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "tools/inspect/kallsyms.h"
#include "tools/inspect/kernel_memory.h"

struct btf;

namespace stasis {

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
    std::string type;  // name of the structure it is, or points to; empty: of neither
  };
  // `path`: names with dots, through structures and unions, named or not ("se.vruntime"). Nothing
  // if this kernel has no such field.
  std::optional<Field> Find(const std::string& type, const std::string& path) const;
  // Bytes; nothing if this kernel has no such structure.
  std::optional<uint64_t> SizeOf(const std::string& type) const;
  // The value that an enumeration gives to `name`.
  std::optional<int64_t> Enumerator(const std::string& name) const;

 private:
  std::optional<int64_t> LookUp(const std::string& enumerator) const;

  struct Free {
    void operator()(btf* types) const;
  };

  KernelTypes() = default;

  std::unique_ptr<btf, Free> types_;
  // What was asked for before. One thread.
  mutable std::map<std::pair<std::string, std::string>, std::optional<Field>> found_;
  mutable std::map<std::string, std::optional<int64_t>> enumerators_;
};

}  // namespace stasis

#endif  // STASIS_TOOLS_INSPECT_KERNEL_TYPES_H_
