// The kernel command line of a run.
#ifndef STASIS_TOOLS_HARNESS_GUEST_CMDLINE_H_
#define STASIS_TOOLS_HARNESS_GUEST_CMDLINE_H_

#include <string>

#include "vmm/boot/discovery.h"

namespace stasis {

struct GuestCmdlineOptions {
  Discovery discovery = Discovery::kAcpi;  // resolved
  bool verbose = false;                    // all kernel messages on the serial port
  bool agent = true;                       // our agent is PID 1
  std::string scenario_append;             // of the scenario file
  std::string user_append;                 // --append: stands last, so that it wins
};

// Words that the discovery itself needs (acpi=off, virtio_mmio.device=...) are the machine's to
// add.
std::string GuestCmdline(const GuestCmdlineOptions& options);

}  // namespace stasis

#endif  // STASIS_TOOLS_HARNESS_GUEST_CMDLINE_H_
