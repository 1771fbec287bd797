// MachineView: the facts of a device tree that ACPI, MP table, command line and bus are made from,
// read back and checked.
#ifndef STASIS_VMM_PLATFORM_MACHINE_VIEW_H_
#define STASIS_VMM_PLATFORM_MACHINE_VIEW_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "vmm/platform/device_tree.h"

namespace stasis {

struct CpuInfo {
  uint32_t index = 0;        // vCPU number, the order of the nodes
  uint64_t hardware_id = 0;  // x86_64: APIC ID
  uint32_t numa_node = 0;
  uint32_t llc = 0;
};

struct MemoryInfo {
  uint64_t base = 0;
  uint64_t size = 0;
  uint32_t numa_node = 0;
};

struct DeviceInfo {
  std::string path;
  std::vector<std::string> compatible;
  bool is_port = false;
  bool in_kernel = false;  // served by KVM, not by the bus
  uint64_t base = 0;
  uint64_t size = 0;
  std::optional<uint32_t> gsi;

  bool IsCompatible(absl::string_view name) const;
};

struct MachineView {
  std::vector<CpuInfo> cpus;
  std::vector<MemoryInfo> memory;
  std::vector<DeviceInfo> devices;  // of /soc and /isa, by node order
  uint32_t numa_nodes = 1;
  std::vector<std::vector<uint8_t>> distances;  // numa_nodes × numa_nodes

  // Error: InvalidArgument with the node that is wrong or missing.
  static absl::StatusOr<MachineView> FromTree(const DeviceTree& tree);

  // In node order.
  std::vector<const DeviceInfo*> Compatible(absl::string_view name) const;
  // The only or first one, or null.
  const DeviceInfo* First(absl::string_view name) const;
};

}  // namespace stasis

#endif  // STASIS_VMM_PLATFORM_MACHINE_VIEW_H_
