#include "vmm/platform/bus.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "absl/strings/str_format.h"
#include "vmm/platform/machine_view.h"

namespace stasis {
namespace {

// Encoding of a Miss in 64 bits: bit 63 valid, 62 port, 61 write, 56 to 60 width, 0 to 55 address
// (guest-physical addresses have at most 52 bits).
constexpr uint64_t kValid = uint64_t{1} << 63;
constexpr uint64_t kPort = uint64_t{1} << 62;
constexpr uint64_t kWrite = uint64_t{1} << 61;
constexpr int kWidthShift = 56;
constexpr uint64_t kWidthMask = 0x1f;
constexpr uint64_t kAddressMask = (uint64_t{1} << kWidthShift) - 1;

uint64_t Encode(const Bus::Miss& miss) {
  return kValid | (miss.space == BusSpace::kPort ? kPort : 0) | (miss.is_write ? kWrite : 0) |
         (miss.width & kWidthMask) << kWidthShift | (miss.address & kAddressMask);
}

Bus::Miss Decode(uint64_t code) {
  Bus::Miss miss;
  miss.space = (code & kPort) != 0 ? BusSpace::kPort : BusSpace::kMmio;
  miss.is_write = (code & kWrite) != 0;
  miss.width = code >> kWidthShift & kWidthMask;
  miss.address = code & kAddressMask;
  return miss;
}

uint64_t Count(const std::atomic<uint64_t>& counter) {
  return counter.load(std::memory_order_relaxed);
}

absl::string_view SpaceName(BusSpace space) { return space == BusSpace::kPort ? "port" : "mmio"; }

}  // namespace

absl::StatusOr<std::unique_ptr<Bus>> Bus::FromTree(
    const DeviceTree& tree, const std::map<std::string, BusDevice*>& devices) {
  absl::StatusOr<MachineView> view = MachineView::FromTree(tree);
  if (!view.ok()) return view.status();
  std::unique_ptr<Bus> bus(new Bus());
  std::set<std::string> placed;
  for (const DeviceInfo& node : view->devices) {
    if (node.in_kernel) continue;
    const auto device = devices.find(node.path);
    if (device == devices.end() || device->second == nullptr) {
      return absl::InvalidArgumentError(
          absl::StrFormat("bus: the device tree has %s, but there is no device for it", node.path));
    }
    placed.insert(node.path);
    absl::Status status = bus->Claim(node.is_port ? BusSpace::kPort : BusSpace::kMmio,
                                     {node.base, node.size, device->second, node.path});
    if (!status.ok()) return status;
  }
  for (const auto& [path, device] : devices) {
    if (placed.count(path) == 0) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "bus: device %s stands under %s, which the device tree does not give to the bus",
          device == nullptr ? "(null)" : device->name(), path));
    }
  }
  return bus;
}

absl::Status Bus::Claim(BusSpace space, Window window) {
  std::vector<Window>& windows = space == BusSpace::kMmio ? mmio_ : ports_;
  const auto after =
      std::upper_bound(windows.begin(), windows.end(), window.base,
                       [](uint64_t base, const Window& other) { return base < other.base; });
  const auto clash = [&](const Window& other) {
    return absl::InvalidArgumentError(
        absl::StrFormat("bus: windows of %s (%#x, %#x bytes) and %s (%#x, %#x bytes) overlap",
                        window.path, window.base, window.size, other.path, other.base, other.size));
  };
  if (after != windows.end() && window.base + window.size > after->base) return clash(*after);
  if (after != windows.begin()) {
    const Window& before = *std::prev(after);
    if (before.base + before.size > window.base) return clash(before);
  }
  windows.insert(after, std::move(window));
  return absl::OkStatus();
}

const Bus::Window* Bus::Find(BusSpace space, uint64_t address) const {
  const std::vector<Window>& windows = Windows(space);
  const auto after =
      std::upper_bound(windows.begin(), windows.end(), address,
                       [](uint64_t value, const Window& window) { return value < window.base; });
  if (after == windows.begin()) return nullptr;
  const Window& window = *std::prev(after);
  return address - window.base < window.size ? &window : nullptr;
}

const Bus::Window* Bus::Resolve(BusSpace space, uint64_t address, size_t width, bool is_write) {
  const Window* window = Find(space, address);
  const bool whole = window != nullptr && width <= window->size - (address - window->base);
  if (whole) {
    dispatched_[space == BusSpace::kPort][is_write].fetch_add(1, std::memory_order_relaxed);
    return window;
  }
  missed_[window != nullptr][is_write].fetch_add(1, std::memory_order_relaxed);
  RememberMiss({space, is_write, static_cast<uint32_t>(width), address});
  return nullptr;
}

void Bus::RememberMiss(const Miss& miss) {
  const uint64_t code = Encode(miss);
  for (std::atomic<uint64_t>& slot : misses_) {
    uint64_t seen = 0;
    if (slot.compare_exchange_strong(seen, code, std::memory_order_relaxed) || seen == code) return;
  }
}

void Bus::Read(BusSpace space, uint64_t address, absl::Span<uint8_t> data) {
  const Window* window = Resolve(space, address, data.size(), /*is_write=*/false);
  if (window == nullptr) {
    std::fill(data.begin(), data.end(), 0xff);
    return;
  }
  window->device->Read(address - window->base, data);
}

void Bus::Write(BusSpace space, uint64_t address, absl::Span<const uint8_t> data) {
  const Window* window = Resolve(space, address, data.size(), /*is_write=*/true);
  if (window != nullptr) window->device->Write(address - window->base, data);
}

BusDevice* Bus::DeviceAt(BusSpace space, uint64_t address) const {
  const Window* window = Find(space, address);
  return window == nullptr ? nullptr : window->device;
}

Bus::Stats Bus::stats() const {
  Stats stats;
  stats.mmio_reads = Count(dispatched_[0][0]);
  stats.mmio_writes = Count(dispatched_[0][1]);
  stats.port_reads = Count(dispatched_[1][0]);
  stats.port_writes = Count(dispatched_[1][1]);
  stats.unclaimed_reads = Count(missed_[0][0]);
  stats.unclaimed_writes = Count(missed_[0][1]);
  stats.straddling_reads = Count(missed_[1][0]);
  stats.straddling_writes = Count(missed_[1][1]);
  for (const std::atomic<uint64_t>& slot : misses_) {
    if (const uint64_t code = Count(slot); code != 0) stats.first_misses.push_back(Decode(code));
  }
  return stats;
}

std::string Bus::DumpState() const {
  const Stats counters = stats();
  nlohmann::json windows = nlohmann::json::array();
  for (BusSpace space : {BusSpace::kMmio, BusSpace::kPort}) {
    for (const Window& window : Windows(space)) {
      windows.push_back({{"space", std::string(SpaceName(space))},
                         {"base", window.base},
                         {"size", window.size},
                         {"device", window.device->name()},
                         {"node", window.path}});
    }
  }
  nlohmann::json misses = nlohmann::json::array();
  for (const Miss& miss : counters.first_misses) {
    misses.push_back({{"space", std::string(SpaceName(miss.space))},
                      {"access", miss.is_write ? "write" : "read"},
                      {"width", miss.width},
                      {"address", miss.address}});
  }
  const nlohmann::json state = {{"windows", windows},
                                {"mmio_reads", counters.mmio_reads},
                                {"mmio_writes", counters.mmio_writes},
                                {"port_reads", counters.port_reads},
                                {"port_writes", counters.port_writes},
                                {"unclaimed_reads", counters.unclaimed_reads},
                                {"unclaimed_writes", counters.unclaimed_writes},
                                {"straddling_reads", counters.straddling_reads},
                                {"straddling_writes", counters.straddling_writes},
                                {"first_misses", misses}};
  return state.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace stasis
