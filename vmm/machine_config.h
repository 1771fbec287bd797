// MachineConfig: what a machine is made from.
#ifndef STASIS_VMM_MACHINE_CONFIG_H_
#define STASIS_VMM_MACHINE_CONFIG_H_

#include <cstdint>

#include "vmm/boot/discovery.h"
#include "vmm/freeze/freeze_coordinator.h"
#include "vmm/topology/topology.h"

namespace stasis {

struct MachineConfig {
  Topology topology;
  uint64_t memory_bytes = uint64_t{512} << 20;
  bool huge_pages = false;
  Discovery discovery = Discovery::kAcpi;  // resolved: kAuto is refused
  // At the machine's end its vCPUs stand still instead of ending their threads, so that the last
  // state can be dumped; whoever wants Wait to return must call Stop.
  bool hold_at_end = false;
  FreezeOptions freeze;
};

}  // namespace stasis

#endif  // STASIS_VMM_MACHINE_CONFIG_H_
