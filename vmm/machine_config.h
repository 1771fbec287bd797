// MachineConfig: what a machine is made from.
#ifndef STASIS_VMM_MACHINE_CONFIG_H_
#define STASIS_VMM_MACHINE_CONFIG_H_

#include <cstdint>

#include "vmm/boot/discovery.h"
#include "vmm/topology/topology.h"

namespace stasis {

struct MachineConfig {
  Topology topology;
  uint64_t memory_bytes = uint64_t{512} << 20;
  bool huge_pages = false;
  Discovery discovery = Discovery::kAcpi;  // resolved: kAuto is refused
};

}  // namespace stasis

#endif  // STASIS_VMM_MACHINE_CONFIG_H_
