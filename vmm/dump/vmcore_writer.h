// WriteVmcore: guest memory and notes as one sparse ELF core file (docs/dump-format.md, rules D).
#ifndef STASIS_VMM_DUMP_VMCORE_WRITER_H_
#define STASIS_VMM_DUMP_VMCORE_WRITER_H_

#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "vmm/memory/guest_memory.h"

namespace stasis::dump {

struct VmcoreContent {
  std::vector<std::string> prstatus;  // per vCPU
  std::vector<std::string> qemu;      // per vCPU
  std::string vmcoreinfo;             // text; empty: no note
  // What the kernel's image mapping adds to its offset; nothing: no segment for it.
  std::optional<uint64_t> phys_base;
  // The JSON of this project's note; called again when memory had to be cut (D7), with one line
  // that says what and why. It may then be kMostCutBytes longer.
  std::function<std::string(const std::string& cut)> json;
};

struct VmcoreOptions {
  std::string directory;  // made if it is not there; its parent must be
  std::string name;       // without extension
  uint64_t most_memory_bytes = std::numeric_limits<uint64_t>::max();  // written, not counting holes
  absl::Duration soft_deadline = absl::Minutes(10);                   // memory is cut after it
};

struct VmcoreResult {
  std::string path;
  uint64_t memory_bytes = 0;  // written: pages that hold anything
  uint64_t file_bytes = 0;    // apparent size
  std::string cut;            // empty: whole
  // Half files of writers that were killed, which were in the directory and are gone now.
  std::vector<std::string> leftovers;
  absl::Duration duration;    // with the sync
};

// The world must stand still. Written as `name.vmcore.part`, synced and renamed (D6): under its
// final name the file is whole; one that is there already is not replaced, the new one gets a
// number. Errors: errno with the path and what to do; ResourceExhausted says how much room was
// needed and how much there was. Nothing is left behind then. A writer that is killed leaves its
// `.part`; the next one removes what nobody has written to for kLeftoverAge.
absl::StatusOr<VmcoreResult> WriteVmcore(const GuestMemory& memory, const VmcoreContent& content,
                                         const VmcoreOptions& options);

inline constexpr size_t kMostCutBytes = 1024;
inline constexpr absl::Duration kLeftoverAge = absl::Hours(1);

}  // namespace stasis::dump

#endif  // STASIS_VMM_DUMP_VMCORE_WRITER_H_
