#include "vmm/platform/platform.h"

#include <algorithm>
#include <bit>

#include "absl/strings/ascii.h"
#include "absl/strings/str_format.h"

namespace stasis {
namespace {

constexpr uint32_t kInterruptPhandle = 1;
constexpr uint32_t kFirstCpuPhandle = 0x100;
constexpr uint32_t kFirstLlcPhandle = 0x1000;
constexpr uint32_t kPortSpaceEnd = 0x10000;
constexpr uint32_t kIsaPortSpace = 1;       // first cell of an ISA address: I/O ports
constexpr uint32_t kUartClockHz = 1843200;  // what a PC's 16550 divides
constexpr char kUartCompatible[] = "ns16550a";
constexpr uint32_t kLastLevel = 3;  // the LLC is an L3

uint32_t High(uint64_t value) { return static_cast<uint32_t>(value >> 32); }
uint32_t Low(uint64_t value) { return static_cast<uint32_t>(value); }

// Devicetree Specification 0.4 §2.2.1: what a node name consists of before the unit address.
absl::Status CheckName(const std::string& name) {
  const bool good =
      !name.empty() && name.size() <= 31 && std::all_of(name.begin(), name.end(), [](char c) {
        return absl::ascii_isalnum(c) || c == '-' || c == '_' || c == '.' || c == '+';
      });
  if (good) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrFormat(
      "device '%s': a device-tree node is named with 1 to 31 letters, digits, -, _, . or +", name));
}

bool Overlap(uint64_t a, uint64_t a_size, uint64_t b, uint64_t b_size) {
  return a < b + b_size && b < a + a_size;
}

}  // namespace

absl::Status PlatformBuilder::AddMemory(absl::Span<const MemoryRegion> regions) {
  if (regions.empty()) return absl::InvalidArgumentError("platform: the machine has no memory");
  for (const MemoryRegion& region : regions) {
    if (Overlap(region.base.value(), region.size, layout_.mmio_base,
                layout_.mmio_limit - layout_.mmio_base)) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "platform: memory at %#x of %d bytes reaches into the MMIO windows %#x to %#x",
          region.base.value(), region.size, layout_.mmio_base, layout_.mmio_limit));
    }
  }
  memory_.assign(regions.begin(), regions.end());
  return absl::OkStatus();
}

absl::Status PlatformBuilder::AddCpus(const Topology& topology) {
  topology_ = topology;
  return absl::OkStatus();
}

absl::Status PlatformBuilder::AddInterruptController() {
  interrupt_controller_ = true;
  return absl::OkStatus();
}

absl::StatusOr<uint32_t> PlatformBuilder::TakeGsi(const std::string& name) {
  for (uint32_t gsi : layout_.device_gsis) {
    if (used_gsis_.insert(gsi).second) return gsi;
  }
  return absl::ResourceExhaustedError(absl::StrFormat(
      "platform: no interrupt left for %s; all %d for MMIO devices are taken, leave out a device",
      name, layout_.device_gsis.size()));
}

absl::StatusOr<Placement> PlatformBuilder::AddMmioDevice(const MmioDeviceRequest& request) {
  if (absl::Status status = CheckName(request.name); !status.ok()) return status;
  const uint64_t room = layout_.mmio_limit - layout_.mmio_base;
  if (request.size == 0) {
    return absl::InvalidArgumentError(
        absl::StrFormat("platform: the window of %s has 0 bytes", request.name));
  }
  const uint64_t start = std::max(next_mmio_, layout_.mmio_base);
  const uint64_t align = request.size <= room
                             ? std::max(layout_.mmio_stride, std::bit_ceil(request.size))
                             : layout_.mmio_stride;
  const uint64_t base = (start + align - 1) / align * align;
  if (base > layout_.mmio_limit || request.size > layout_.mmio_limit - base) {
    return absl::ResourceExhaustedError(absl::StrFormat(
        "platform: no address left for %s (%#x bytes): MMIO windows go from %#x to %#x, and all "
        "below %#x is taken; leave out a device",
        request.name, request.size, layout_.mmio_base, layout_.mmio_limit, start));
  }
  Placement placement;
  if (request.wants_interrupt) {
    absl::StatusOr<uint32_t> gsi = TakeGsi(request.name);
    if (!gsi.ok()) return gsi.status();
    placement.gsi = *gsi;
  }
  placement.base = base;
  placement.size = request.size;
  const std::string node_name = absl::StrFormat("%s@%x", request.name, base);
  placement.node_path = "/soc/" + node_name;
  next_mmio_ = base + request.size;
  devices_.push_back({node_name, request.compatible, placement});
  return placement;
}

absl::StatusOr<Placement> PlatformBuilder::AddPortDevice(const PortDeviceRequest& request) {
  if (!layout_.has_ports) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "platform: %s wants I/O ports, which this architecture does not have", request.name));
  }
  if (absl::Status status = CheckName(request.name); !status.ok()) return status;
  if (request.size == 0 || uint32_t{request.base} + request.size > kPortSpaceEnd) {
    return absl::InvalidArgumentError(
        absl::StrFormat("platform: %s at port %#x with %d ports: there are ports 0 to 0xffff",
                        request.name, request.base, request.size));
  }
  for (const Device& other : devices_) {
    if (other.placement.is_port &&
        Overlap(request.base, request.size, other.placement.base, other.placement.size)) {
      return absl::AlreadyExistsError(absl::StrFormat(
          "platform: ports %#x to %#x of %s belong to %s", request.base,
          request.base + request.size - 1, request.name, other.placement.node_path));
    }
  }
  if (request.gsi && *request.gsi >= layout_.gsi_count) {
    return absl::InvalidArgumentError(
        absl::StrFormat("platform: %s wants interrupt %d; there are %d", request.name, *request.gsi,
                        layout_.gsi_count));
  }
  if (request.gsi && !used_gsis_.insert(*request.gsi).second) {
    return absl::AlreadyExistsError(
        absl::StrFormat("platform: interrupt %d of %s is another device's; add fixed devices first",
                        *request.gsi, request.name));
  }
  Placement placement;
  placement.is_port = true;
  placement.base = request.base;
  placement.size = request.size;
  placement.gsi = request.gsi;
  const std::string node_name = absl::StrFormat("%s@i%x", request.name, request.base);
  placement.node_path = "/isa/" + node_name;
  devices_.push_back({node_name, request.compatible, placement});
  return placement;
}

// The writer keeps its first error, so that the steps below need not check each line.

absl::Status PlatformBuilder::WriteChosen(DeviceTreeWriter& writer) const {
  writer.BeginNode("chosen").IgnoreError();
  writer.String("bootargs", chosen_.command_line).IgnoreError();
  if (chosen_.initrd_end > chosen_.initrd_start) {
    writer.Number("linux,initrd-start", chosen_.initrd_start).IgnoreError();
    writer.Number("linux,initrd-end", chosen_.initrd_end).IgnoreError();
  }
  if (!chosen_.stdout_path.empty()) {
    writer.String("stdout-path", chosen_.stdout_path).IgnoreError();
  }
  return writer.EndNode();
}

absl::Status PlatformBuilder::WriteMemory(DeviceTreeWriter& writer) const {
  for (const MemoryRegion& region : memory_) {
    const uint64_t base = region.base.value();
    writer.BeginNode(absl::StrFormat("memory@%x", base)).IgnoreError();
    writer.String("device_type", "memory").IgnoreError();
    writer.Cells("reg", {High(base), Low(base), High(region.size), Low(region.size)}).IgnoreError();
    writer.Cell("numa-node-id", region.numa_node).IgnoreError();
    writer.EndNode().IgnoreError();
  }
  return writer.status();
}

absl::Status PlatformBuilder::WriteCpu(DeviceTreeWriter& writer, uint32_t cpu) const {
  const CpuPlace place = topology_->Place(cpu);
  const uint32_t id = Low(layout_.cpu_hardware_id(*topology_, cpu));
  writer.BeginNode(absl::StrFormat("cpu@%x", id)).IgnoreError();
  writer.String("device_type", "cpu").IgnoreError();
  writer.Cell("reg", id).IgnoreError();
  writer.Cell("phandle", kFirstCpuPhandle + cpu).IgnoreError();
  writer.Cell("numa-node-id", place.node).IgnoreError();
  writer.Cell("next-level-cache", kFirstLlcPhandle + place.llc).IgnoreError();
  if (layout_.write_cpu_properties) layout_.write_cpu_properties(writer).IgnoreError();
  return writer.EndNode();
}

// /cpus/cpu-map: a cluster is an LLC (Devicetree Specification, "CPU topology" binding).
absl::Status PlatformBuilder::WriteCpuMap(DeviceTreeWriter& writer) const {
  writer.BeginNode("cpu-map").IgnoreError();
  for (uint32_t cpu = 0; cpu < topology_->cpus(); ++cpu) {
    const CpuPlace place = topology_->Place(cpu);
    const uint32_t cluster = place.llc % topology_->llcs_per_node();
    const bool first_in_core = place.thread == 0;
    const bool first_in_llc = first_in_core && place.core == 0;
    if (first_in_llc && cluster == 0) {
      writer.BeginNode(absl::StrFormat("socket%d", place.node)).IgnoreError();
    }
    if (first_in_llc) writer.BeginNode(absl::StrFormat("cluster%d", cluster)).IgnoreError();
    if (first_in_core) writer.BeginNode(absl::StrFormat("core%d", place.core)).IgnoreError();
    if (topology_->threads_per_core() > 1) {
      writer.BeginNode(absl::StrFormat("thread%d", place.thread)).IgnoreError();
    }
    writer.Cell("cpu", kFirstCpuPhandle + cpu).IgnoreError();
    if (topology_->threads_per_core() > 1) writer.EndNode().IgnoreError();
    if (place.thread + 1 < topology_->threads_per_core()) continue;
    writer.EndNode().IgnoreError();  // core
    if (place.core + 1 < topology_->cores_per_llc()) continue;
    writer.EndNode().IgnoreError();                                                 // cluster
    if (cluster + 1 == topology_->llcs_per_node()) writer.EndNode().IgnoreError();  // socket
  }
  return writer.EndNode();
}

absl::Status PlatformBuilder::WriteCpus(DeviceTreeWriter& writer) const {
  writer.BeginNode("cpus").IgnoreError();
  writer.Cell("#address-cells", 1).IgnoreError();
  writer.Cell("#size-cells", 0).IgnoreError();
  for (uint32_t cpu = 0; cpu < topology_->cpus(); ++cpu) WriteCpu(writer, cpu).IgnoreError();
  for (uint32_t llc = 0; llc < topology_->llcs(); ++llc) {
    writer.BeginNode(absl::StrFormat("l3-cache%d", llc)).IgnoreError();
    writer.String("compatible", "cache").IgnoreError();
    writer.Cell("cache-level", kLastLevel).IgnoreError();
    writer.Flag("cache-unified").IgnoreError();
    writer.Cell("phandle", kFirstLlcPhandle + llc).IgnoreError();
    writer.EndNode().IgnoreError();
  }
  WriteCpuMap(writer).IgnoreError();
  return writer.EndNode();
}

absl::Status PlatformBuilder::WriteDistances(DeviceTreeWriter& writer) const {
  if (topology_->nodes() < 2) return writer.status();
  std::vector<uint32_t> matrix;
  for (uint32_t from = 0; from < topology_->nodes(); ++from) {
    for (uint32_t to = 0; to < topology_->nodes(); ++to) {
      matrix.insert(matrix.end(), {from, to, topology_->distance(from, to)});
    }
  }
  writer.BeginNode("distance-map").IgnoreError();
  writer.String("compatible", "numa-distance-map-v1").IgnoreError();
  writer.Cells("distance-matrix", matrix).IgnoreError();
  return writer.EndNode();
}

absl::Status PlatformBuilder::WriteDevices(DeviceTreeWriter& writer, bool ports) const {
  for (const Device& device : devices_) {
    const Placement& at = device.placement;
    if (at.is_port != ports) continue;
    writer.BeginNode(device.node_name).IgnoreError();
    writer.String("compatible", device.compatible).IgnoreError();
    if (ports) {
      writer.Cells("reg", {kIsaPortSpace, Low(at.base), Low(at.size)}).IgnoreError();
    } else {
      writer.Cells("reg", {High(at.base), Low(at.base), High(at.size), Low(at.size)}).IgnoreError();
    }
    if (at.gsi) writer.Cells("interrupts", layout_.edge_interrupt(*at.gsi)).IgnoreError();
    if (device.compatible == kUartCompatible) {
      writer.Cell("clock-frequency", kUartClockHz).IgnoreError();
    }
    writer.EndNode().IgnoreError();
  }
  return writer.status();
}

absl::Status PlatformBuilder::WriteBuses(DeviceTreeWriter& writer) const {
  writer.BeginNode("soc").IgnoreError();
  writer.String("compatible", "simple-bus").IgnoreError();
  writer.Cell("#address-cells", 2).IgnoreError();
  writer.Cell("#size-cells", 2).IgnoreError();
  writer.Flag("ranges").IgnoreError();
  layout_.write_interrupt_controller(writer, kInterruptPhandle).IgnoreError();
  WriteDevices(writer, /*ports=*/false).IgnoreError();
  writer.EndNode().IgnoreError();
  if (!layout_.has_ports) return writer.status();
  writer.BeginNode("isa").IgnoreError();
  writer.String("device_type", "isa").IgnoreError();
  writer.String("compatible", "isa").IgnoreError();
  writer.Cell("#address-cells", 2).IgnoreError();
  writer.Cell("#size-cells", 1).IgnoreError();
  // Ports are their own addresses: Linux on x86 takes a translated port number as it is.
  writer.Cells("ranges", {kIsaPortSpace, 0, 0, 0, kPortSpaceEnd}).IgnoreError();
  WriteDevices(writer, /*ports=*/true).IgnoreError();
  return writer.EndNode();
}

absl::StatusOr<DeviceTree> PlatformBuilder::Finish() const {
  if (memory_.empty() || !topology_ || !interrupt_controller_) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "platform: the device tree cannot be written before %s is added",
        memory_.empty() ? "memory" : (!topology_ ? "CPUs" : "the interrupt controller")));
  }
  DeviceTreeWriter writer;
  writer.BeginNode("").IgnoreError();
  writer.String("compatible", layout_.root_compatible).IgnoreError();
  writer.String("model", "stasis microVM").IgnoreError();
  writer.Cell("#address-cells", 2).IgnoreError();
  writer.Cell("#size-cells", 2).IgnoreError();
  writer.Cell("interrupt-parent", kInterruptPhandle).IgnoreError();
  WriteChosen(writer).IgnoreError();
  WriteMemory(writer).IgnoreError();
  WriteCpus(writer).IgnoreError();
  WriteDistances(writer).IgnoreError();
  WriteBuses(writer).IgnoreError();
  writer.EndNode().IgnoreError();
  return writer.Finish();
}

}  // namespace stasis
