// Kernel: an x86_64 Linux kernel in a memory image, read by the names of its symbols and fields.
#ifndef STASIS_TOOLS_INSPECT_KERNEL_H_
#define STASIS_TOOLS_INSPECT_KERNEL_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>

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

  // The symbol's address, moved to the copy of `cpu` for a per-CPU variable.
  std::optional<uint64_t> PerCpu(const std::string& symbol, int cpu) const;

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
};

// A structure of the kernel at an address. Copyable, cheap; the kernel outlives it.
class KernelStruct {
 public:
  KernelStruct(const Kernel* kernel, std::string type, uint64_t address)
      : kernel_(kernel), type_(std::move(type)), address_(address) {}

  uint64_t address() const { return address_; }
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
  bool Has(const char* path) const { return kernel_->types().Find(type_, path).has_value(); }

 private:
  const Kernel* kernel_;
  std::string type_;
  uint64_t address_;
};

}  // namespace stasis

#endif  // STASIS_TOOLS_INSPECT_KERNEL_H_
