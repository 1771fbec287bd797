#include "vmm/platform/machine_view.h"

#include <algorithm>
#include <map>

#include "absl/strings/str_format.h"
#include "vmm/platform/platform.h"

namespace stasis {
namespace {

constexpr uint8_t kLocalDistance = 10;  // ACPI 6.5 §5.2.17, and the default of the FDT binding
constexpr uint8_t kRemoteDistance = 20;
constexpr uint32_t kIsaPortSpace = 1;

absl::Status Bad(const DeviceTree& tree, DeviceTree::Node node, absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrFormat("device tree: %s: %s", tree.Path(node), why));
}

// The input number behind `interrupts`: the only or first cell of a controller with 1 or 2 cells,
// the second of one with 3 (GIC: type, number, flags).
absl::StatusOr<uint32_t> ReadGsi(const DeviceTree& tree, DeviceTree::Node node) {
  const auto cells = tree.Cells(node, "interrupts");
  if (!cells || cells->empty() || cells->size() > 3) {
    return Bad(tree, node, "interrupts has no 1 to 3 cells");
  }
  return (*cells)[cells->size() == 3 ? 1 : 0];
}

absl::Status ReadMemory(const DeviceTree& tree, DeviceTree::Node node, MachineView* view) {
  absl::StatusOr<std::vector<RegWindow>> windows = tree.Reg(node);
  if (!windows.ok()) return windows.status();
  for (const RegWindow& window : *windows) {
    view->memory.push_back({window.base, window.size, tree.Cell(node, "numa-node-id").value_or(0)});
  }
  return absl::OkStatus();
}

absl::Status ReadCpus(const DeviceTree& tree, DeviceTree::Node cpus, MachineView* view) {
  std::map<uint32_t, uint32_t> llcs;  // phandle of the cache → number in order of appearance
  for (DeviceTree::Node node : tree.Children(cpus)) {
    if (tree.String(node, "device_type") != "cpu") continue;
    absl::StatusOr<std::vector<RegWindow>> reg = tree.Reg(node);
    if (!reg.ok()) return reg.status();
    CpuInfo cpu;
    cpu.index = view->cpus.size();
    cpu.hardware_id = reg->front().base;
    cpu.numa_node = tree.Cell(node, "numa-node-id").value_or(0);
    if (const auto cache = tree.Cell(node, "next-level-cache")) {
      if (!tree.FindPhandle(*cache)) return Bad(tree, node, "next-level-cache points nowhere");
      cpu.llc = llcs.try_emplace(*cache, llcs.size()).first->second;
    }
    view->cpus.push_back(cpu);
  }
  if (view->cpus.empty()) return Bad(tree, cpus, "there is no CPU");
  return absl::OkStatus();
}

absl::Status ReadDevices(const DeviceTree& tree, DeviceTree::Node bus, MachineView* view) {
  const bool isa = tree.IsCompatible(bus, "isa");
  for (DeviceTree::Node node : tree.Children(bus)) {
    absl::StatusOr<std::vector<RegWindow>> reg = tree.Reg(node);
    if (!reg.ok()) return reg.status();
    // One window per device is what the builder writes and the bus dispatches.
    if (reg->size() != 1) return Bad(tree, node, "reg has more than one window");
    DeviceInfo device;
    device.path = tree.Path(node);
    device.compatible = tree.Strings(node, "compatible").value_or(std::vector<std::string>());
    device.is_port = isa && reg->front().space == kIsaPortSpace;
    device.in_kernel = tree.Has(node, kInKernelProperty);
    device.base = reg->front().base;
    device.size = reg->front().size;
    if (device.size == 0 || device.base + device.size < device.base) {
      return Bad(tree, node, "its window is empty or leaves the address space");
    }
    if (tree.Has(node, "interrupts")) {
      absl::StatusOr<uint32_t> gsi = ReadGsi(tree, node);
      if (!gsi.ok()) return gsi.status();
      device.gsi = *gsi;
    }
    view->devices.push_back(std::move(device));
  }
  return absl::OkStatus();
}

absl::Status ReadDistances(const DeviceTree& tree, MachineView* view) {
  const uint32_t count = view->numa_nodes;
  view->distances.assign(count, std::vector<uint8_t>(count, kRemoteDistance));
  for (uint32_t node = 0; node < count; ++node) view->distances[node][node] = kLocalDistance;
  const auto map = tree.Find("/distance-map");
  if (!map) return absl::OkStatus();
  const auto cells = tree.Cells(*map, "distance-matrix");
  if (!cells || cells->size() % 3 != 0) return Bad(tree, *map, "distance-matrix has no triples");
  for (size_t at = 0; at < cells->size(); at += 3) {
    const uint32_t from = (*cells)[at], to = (*cells)[at + 1], distance = (*cells)[at + 2];
    if (from >= count || to >= count || distance > 255) {
      return Bad(
          tree, *map,
          absl::StrFormat("distance %d from node %d to %d of %d", distance, from, to, count));
    }
    view->distances[from][to] = static_cast<uint8_t>(distance);
  }
  return absl::OkStatus();
}

}  // namespace

bool DeviceInfo::IsCompatible(absl::string_view name) const {
  return std::find(compatible.begin(), compatible.end(), name) != compatible.end();
}

absl::StatusOr<MachineView> MachineView::FromTree(const DeviceTree& tree) {
  MachineView view;
  const auto cpus = tree.Find("/cpus");
  if (!cpus) return absl::InvalidArgumentError("device tree: there is no /cpus");
  absl::Status status = ReadCpus(tree, *cpus, &view);
  for (DeviceTree::Node node : tree.Children(tree.root())) {
    if (!status.ok()) return status;
    if (tree.String(node, "device_type") == "memory") {
      status = ReadMemory(tree, node, &view);
    } else if (tree.IsCompatible(node, "simple-bus") || tree.IsCompatible(node, "isa")) {
      status = ReadDevices(tree, node, &view);
    }
  }
  if (!status.ok()) return status;
  for (const CpuInfo& cpu : view.cpus)
    view.numa_nodes = std::max(view.numa_nodes, cpu.numa_node + 1);
  for (const MemoryInfo& range : view.memory) {
    view.numa_nodes = std::max(view.numa_nodes, range.numa_node + 1);
  }
  if (view.numa_nodes > view.cpus.size() + view.memory.size()) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "device tree: numa-node-id up to %d leaves nodes empty", view.numa_nodes - 1));
  }
  if (status = ReadDistances(tree, &view); !status.ok()) return status;
  return view;
}

std::vector<const DeviceInfo*> MachineView::Compatible(absl::string_view name) const {
  std::vector<const DeviceInfo*> found;
  for (const DeviceInfo& device : devices) {
    if (device.IsCompatible(name)) found.push_back(&device);
  }
  return found;
}

const DeviceInfo* MachineView::First(absl::string_view name) const {
  const std::vector<const DeviceInfo*> found = Compatible(name);
  return found.empty() ? nullptr : found.front();
}

}  // namespace stasis
