// What `stasis dump` prints: the facts of a dump as text.
#ifndef STASIS_TOOLS_INSPECT_DUMP_TEXT_H_
#define STASIS_TOOLS_INSPECT_DUMP_TEXT_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "tools/inspect/dump_file.h"
#include "tools/inspect/kallsyms.h"
#include "tools/inspect/kernel_memory.h"
#include "tools/inspect/unwind.h"

namespace stasis {

// A dump with what could be made of its kernel. Each function returns text that ends in a newline,
// for a dump with facts(); what is missing in it is said. Text of the guest is made printable.
class DumpText {
 public:
  explicit DumpText(const DumpFile* dump);

  // Takes the symbols of the vmlinux at `path` in place of the kernel's own. Errors: those of
  // Kallsyms::LoadVmlinux; nothing has changed then.
  absl::Status UseVmlinux(const std::string& path);

  // One screen: what failed, in which layer, since when, where each CPU was, what devices did.
  std::string Summary() const;
  std::string Cpus() const;       // registers of every vCPU
  std::string Backtrace() const;  // of every vCPU
  std::string Devices() const;
  std::string Console() const;
  std::string Timeline() const;
  std::string Notes() const;  // of any core file
  // `length` bytes from a kernel virtual or, with `physical`, a guest-physical address or a symbol
  // ("linux_banner", "0xffffffff82610000"). Errors: NotFound (no such symbol, not mapped),
  // InvalidArgument.
  absl::StatusOr<std::string> Memory(const std::string& where, bool physical,
                                     uint64_t length) const;
  // What changed from `before` to this dump, key by key; empty when nothing did.
  std::string Diff(const DumpFile& before) const;

  // Why symbols are missing; empty with symbols.
  const std::string& without_symbols() const { return without_symbols_; }

 private:
  std::string Where(const nlohmann::json& vcpu) const;
  std::string Stack(const nlohmann::json& vcpu, size_t most) const;
  std::string LongestWait() const;

  const DumpFile& dump_;
  const KernelMemory memory_;
  std::optional<Kallsyms> symbols_;
  std::unique_ptr<Unwinder> unwinder_;
  std::string without_symbols_;
};

}  // namespace stasis

#endif  // STASIS_TOOLS_INSPECT_DUMP_TEXT_H_
