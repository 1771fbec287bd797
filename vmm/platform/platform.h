// PlatformBuilder: lays out a machine (memory, CPUs, interrupt controller, devices with addresses
// and interrupts) and writes it down as the device tree that everything else is derived from.
#ifndef STASIS_VMM_PLATFORM_PLATFORM_H_
#define STASIS_VMM_PLATFORM_PLATFORM_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "vmm/memory/guest_memory.h"
#include "vmm/platform/device_tree.h"
#include "vmm/topology/topology.h"

namespace stasis {

// What an architecture brings to the platform. x86_64: X86Layout() in vmm/x86_64/platform_layout.h.
struct PlatformLayout {
  std::string root_compatible;

  // Where windows of MMIO devices are placed: [mmio_base, mmio_limit), each aligned to its size and
  // to mmio_stride.
  uint64_t mmio_base = 0;
  uint64_t mmio_limit = 0;
  uint64_t mmio_stride = 0x1000;

  // Interrupt inputs for devices that ask for none in particular, in the order of allocation.
  std::vector<uint32_t> device_gsis;
  uint32_t gsi_count = 0;  // inputs that there are at all: 0 to gsi_count - 1

  bool has_ports = false;  // an "isa" node for port devices

  // `interrupts` cells of an edge-triggered, active-high input.
  std::function<std::vector<uint32_t>(uint32_t gsi)> edge_interrupt;

  // Writes the interrupt controllers' nodes into /soc. The one that devices are wired to has the
  // given phandle. Nodes that KVM serves itself carry the flag kInKernelProperty.
  std::function<absl::Status(DeviceTreeWriter& writer, uint32_t phandle)>
      write_interrupt_controller;

  // Value of `reg` in /cpus/cpu@N (x86_64: APIC ID), and the rest of a CPU's properties.
  std::function<uint64_t(const Topology& topology, uint32_t cpu)> cpu_hardware_id;
  std::function<absl::Status(DeviceTreeWriter& writer)> write_cpu_properties;
};

// A node with this flag is served inside KVM: the bus does not dispatch it.
inline constexpr char kInKernelProperty[] = "stasis,in-kernel";

struct MmioDeviceRequest {
  std::string name;  // node name without address: "virtio_mmio"
  std::string compatible = "virtio,mmio";
  uint64_t size = 0x1000;
  bool wants_interrupt = true;
};

struct PortDeviceRequest {
  std::string name;  // "serial"
  std::string compatible;
  uint16_t base = 0;
  uint16_t size = 0;
  std::optional<uint32_t> gsi;  // fixed input, or none
};

// What a device got.
struct Placement {
  std::string node_path;
  bool is_port = false;
  uint64_t base = 0;
  uint64_t size = 0;
  std::optional<uint32_t> gsi;
};

struct ChosenNode {
  std::string command_line;
  uint64_t initrd_start = 0;  // guest-physical; no initrd when start == end
  uint64_t initrd_end = 0;
  std::string stdout_path;  // a Placement's node_path, or empty
};

// Use: AddMemory, AddCpus and AddInterruptController once each, devices in any order, Finish.
// One thread.
class PlatformBuilder {
 public:
  explicit PlatformBuilder(PlatformLayout layout) : layout_(std::move(layout)) {}

  // Errors: InvalidArgument (no region, or one that reaches into the MMIO windows).
  absl::Status AddMemory(absl::Span<const MemoryRegion> regions);
  absl::Status AddCpus(const Topology& topology);
  absl::Status AddInterruptController();

  // Errors: ResourceExhausted (no address or interrupt left, with the numbers), InvalidArgument
  // (size 0, a name that is no node name).
  absl::StatusOr<Placement> AddMmioDevice(const MmioDeviceRequest& request);
  // Errors: AlreadyExists (ports or interrupt of another device), InvalidArgument,
  // FailedPrecondition (the architecture has no ports).
  absl::StatusOr<Placement> AddPortDevice(const PortDeviceRequest& request);

  void SetChosen(ChosenNode chosen) { chosen_ = std::move(chosen); }

  // May be called again after further additions, e.g. once the initrd has its place.
  // Error: FailedPrecondition (memory, CPUs or interrupt controller missing).
  absl::StatusOr<DeviceTree> Finish() const;

 private:
  struct Device {
    std::string node_name;  // with unit address
    std::string compatible;
    Placement placement;
  };

  absl::StatusOr<uint32_t> TakeGsi(const std::string& name);
  absl::Status WriteChosen(DeviceTreeWriter& writer) const;
  absl::Status WriteMemory(DeviceTreeWriter& writer) const;
  absl::Status WriteCpus(DeviceTreeWriter& writer) const;
  absl::Status WriteCpu(DeviceTreeWriter& writer, uint32_t cpu) const;
  absl::Status WriteCpuMap(DeviceTreeWriter& writer) const;
  absl::Status WriteDistances(DeviceTreeWriter& writer) const;
  absl::Status WriteBuses(DeviceTreeWriter& writer) const;
  absl::Status WriteDevices(DeviceTreeWriter& writer, bool ports) const;

  const PlatformLayout layout_;
  std::vector<MemoryRegion> memory_;
  std::optional<Topology> topology_;
  bool interrupt_controller_ = false;
  std::vector<Device> devices_;
  std::set<uint32_t> used_gsis_;
  uint64_t next_mmio_ = 0;  // first free MMIO address, 0: none taken yet
  ChosenNode chosen_;
};

}  // namespace stasis

#endif  // STASIS_VMM_PLATFORM_PLATFORM_H_
