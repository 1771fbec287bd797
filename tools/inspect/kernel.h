// Kernel: an x86_64 Linux kernel in a memory image, read by the names of its symbols and fields.
#ifndef STASIS_TOOLS_INSPECT_KERNEL_H_
#define STASIS_TOOLS_INSPECT_KERNEL_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "tools/inspect/kallsyms.h"
#include "tools/inspect/kernel_memory.h"
#include "tools/inspect/kernel_types.h"
#include "tools/inspect/memory_image.h"

namespace stasis {

// Reads whatever the guest made of its memory: a value that cannot be had is nothing, never an
// error, and what a loop goes through is bounded by its caller. One thread.
class Kernel {
 public:
  // `image` outlives it. Errors: those of Kallsyms and KernelTypes.
  static absl::StatusOr<std::unique_ptr<Kernel>> Open(const MemoryImage* image);
  // With symbols from elsewhere.
  static absl::StatusOr<std::unique_ptr<Kernel>> Open(const MemoryImage* image, Kallsyms symbols);

  const KernelMemory& memory() const { return memory_; }
  const Kallsyms& symbols() const { return symbols_; }
  const KernelTypes& types() const { return types_; }

  // Of a symbol; looks each up once.
  std::optional<uint64_t> Address(std::string_view symbol) const;
  // The symbol's address, moved to the copy of `cpu` for a per-CPU variable.
  std::optional<uint64_t> PerCpu(std::string_view symbol, int cpu) const;
  // The same of a per-CPU pointer's value.
  std::optional<uint64_t> PerCpuAt(uint64_t pointer, int cpu) const;
  // The variable of the first of these names that this kernel has; `size` at most 8 bytes.
  std::optional<uint64_t> Variable(std::initializer_list<const char*> names, size_t size) const;

  // Fields that were asked for and that this kernel does not have: "cfs_rq.nr_running".
  const std::set<std::string>& missing() const { return missing_; }
  void NoteMissing(const std::string& what) const { missing_.insert(what); }

 private:
  Kernel(const MemoryImage* image, Kallsyms symbols, KernelTypes types)
      : memory_(image), symbols_(std::move(symbols)), types_(std::move(types)) {}

  const KernelMemory memory_;
  const Kallsyms symbols_;
  const KernelTypes types_;
  mutable std::set<std::string> missing_;
  mutable ByName<std::optional<uint64_t>> addresses_;
};

// A structure of the kernel at an address. Copyable, cheap; the kernel outlives it.
class KernelStruct {
 public:
  KernelStruct(const Kernel* kernel, std::string_view type, uint64_t address)
      : kernel_(kernel), type_(&kernel->types().Named(type)), address_(address) {}

  uint64_t address() const { return address_; }
  const std::string& type() const { return type_->name(); }
  // Reads the whole structure at once, so that its fields cost no further read and are of one
  // moment. Without effect when a part of it is not mapped: fields are read one by one then.
  void Fetch();
  // An integer, enumeration or pointer, sign-extended as it is declared. With several paths the
  // first that this kernel has: fields are renamed now and then.
  std::optional<uint64_t> Number(std::initializer_list<const char*> paths) const;
  std::optional<uint64_t> Number(const char* path) const { return Number({path}); }
  uint64_t NumberOr(const char* path, uint64_t otherwise) const {
    return Number(path).value_or(otherwise);
  }
  // An array of characters up to its zero, or the text that a pointer leads to; at most 255 bytes.
  std::string Text(const char* path) const;
  // Where a field is; nothing without it.
  std::optional<uint64_t> AddressOf(const char* path) const;
  // The structure that a field is (not the one it points to).
  std::optional<KernelStruct> Member(const char* path) const;
  // The structure that a pointer leads to; nothing for a null pointer.
  std::optional<KernelStruct> Pointed(std::initializer_list<const char*> paths) const;
  std::optional<KernelStruct> Pointed(const char* path) const { return Pointed({path}); }
  bool Has(const char* path) const { return type_->Find(path) != nullptr; }

 private:
  // The first field of these that this kernel has; null, and noted, without.
  const KernelTypes::Field* Field(std::initializer_list<const char*> paths) const;
  bool ReadAt(uint64_t offset, void* to, size_t length) const;

  const Kernel* kernel_;
  const KernelTypes::Structure* type_;
  uint64_t address_;
  std::shared_ptr<const std::string> bytes_;  // what Fetch read
};

}  // namespace stasis

#endif  // STASIS_TOOLS_INSPECT_KERNEL_H_
