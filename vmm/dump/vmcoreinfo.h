// VMCOREINFO: the note in which a Linux kernel tells debuggers about itself (rule D3).
#ifndef STASIS_VMM_DUMP_VMCOREINFO_H_
#define STASIS_VMM_DUMP_VMCOREINFO_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "vmm/memory/guest_memory.h"

namespace stasis::dump {

struct VmcoreInfo {
  std::string text;      // of the note, verbatim
  GuestAddress address;  // of the note
  std::string source;    // "agent" or "scan"
};

// What /sys/kernel/vmcoreinfo says: the note's guest-physical address and its room in bytes.
struct VmcoreInfoHint {
  uint64_t address = 0;
  uint64_t size = 0;
};

// The note at `hint` if there is one, else the first page of RAM that begins with one (namesz 11,
// "VMCOREINFO", text from "OSRELEASE=" on). What the guest says is checked: a text is at most
// kMostBytes long. Error: NotFound, also before the kernel has written its note.
absl::StatusOr<VmcoreInfo> FindVmcoreInfo(const GuestMemory& memory,
                                          const std::optional<VmcoreInfoHint>& hint);

// The value of "KEY=value" and of "NUMBER(name)=123", "SYMBOL(name)=ffff...". Nothing when the line
// is not there or no number.
std::optional<std::string> VmcoreInfoValue(absl::string_view text, absl::string_view key);
std::optional<int64_t> VmcoreInfoNumber(absl::string_view text, absl::string_view name);
std::optional<uint64_t> VmcoreInfoSymbol(absl::string_view text, absl::string_view name);

inline constexpr uint64_t kMostVmcoreInfoBytes = 64 * 1024;

}  // namespace stasis::dump

#endif  // STASIS_VMM_DUMP_VMCOREINFO_H_
