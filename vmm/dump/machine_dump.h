// MachineDump: from a frozen machine to a dump file (docs/dump-format.md).
#ifndef STASIS_VMM_DUMP_MACHINE_DUMP_H_
#define STASIS_VMM_DUMP_MACHINE_DUMP_H_

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"
#include "vmm/dump/vmcore_writer.h"
#include "vmm/dump/vmcoreinfo.h"
#include "vmm/machine.h"
#include "vmm/machine_snapshot.h"

namespace stasis::dump {

// The keys `vcpus`, `devices`, `freeze` and those of `times` that the machine knows.
nlohmann::json SnapshotJson(const MachineSnapshot& snapshot);

// Processor, kernel, KVM's flavour and load of this host.
nlohmann::json HostJson();

struct MachineDumpRequest {
  VmcoreOptions file;
  // What the machine itself does not know: `trigger`, `verdict`, `scenario`, `console`, ... Its
  // members win, but those of `times`, `machine` and `host` are added to the machine's own.
  nlohmann::json more = nlohmann::json::object();
  std::optional<VmcoreInfoHint> vmcoreinfo;
};

// `machine` is frozen, and `snapshot` is of that freeze.
// Errors: those of WriteVmcore.
absl::StatusOr<VmcoreResult> WriteMachineDump(const Machine& machine,
                                              const MachineSnapshot& snapshot,
                                              const MachineDumpRequest& request);

// "20261127T142501Z": now, for names of files.
std::string UtcStamp();

}  // namespace stasis::dump

#endif  // STASIS_VMM_DUMP_MACHINE_DUMP_H_
