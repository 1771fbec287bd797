// Bus: finds the device behind an MMIO or port access of the guest.
#ifndef STASIS_VMM_PLATFORM_BUS_H_
#define STASIS_VMM_PLATFORM_BUS_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "vmm/device/device.h"
#include "vmm/platform/device_tree.h"

namespace stasis {

enum class BusSpace { kMmio, kPort };

// Made by walking the device tree, so that what the guest is told and what is dispatched cannot
// differ. The map does not change afterwards: Read and Write are lock-free and called by all vCPU
// threads at a time. Devices are not owned and outlive the bus.
class Bus {
 public:
  // One access that no device answered.
  struct Miss {
    BusSpace space = BusSpace::kMmio;
    bool is_write = false;
    uint32_t width = 0;
    uint64_t address = 0;
  };
  // A copy of the counters (rule T11).
  struct Stats {
    uint64_t mmio_reads = 0, mmio_writes = 0, port_reads = 0, port_writes = 0;  // dispatched
    uint64_t unclaimed_reads = 0, unclaimed_writes = 0;    // no device at the first byte
    uint64_t straddling_reads = 0, straddling_writes = 0;  // device ends before the last byte
    std::vector<Miss> first_misses;                        // different ones, at most kMaxMisses
  };
  static constexpr size_t kMaxMisses = 16;

  // Claims the window of every node of /soc and /isa for the device that `devices` has under the
  // node's path. Errors: InvalidArgument (two windows overlap, a node that KVM does not serve is
  // without a device, a device is without a node), each with the paths.
  static absl::StatusOr<std::unique_ptr<Bus>> FromTree(
      const DeviceTree& tree, const std::map<std::string, BusDevice*>& devices);

  // An access that no device takes whole reads 0xff, drops writes and is counted (rule T11).
  void Read(BusSpace space, uint64_t address, absl::Span<uint8_t> data);
  void Write(BusSpace space, uint64_t address, absl::Span<const uint8_t> data);

  // The device whose window contains the address, or null.
  BusDevice* DeviceAt(BusSpace space, uint64_t address) const;

  Stats stats() const;
  // JSON object for a dump: windows and counters.
  std::string DumpState() const;

 private:
  struct Window {
    uint64_t base = 0;
    uint64_t size = 0;
    BusDevice* device = nullptr;
    std::string path;
  };

  Bus() = default;
  absl::Status Claim(BusSpace space, Window window);
  const std::vector<Window>& Windows(BusSpace space) const {
    return space == BusSpace::kMmio ? mmio_ : ports_;
  }
  const Window* Find(BusSpace space, uint64_t address) const;
  // The window that takes [address, address + width) whole, or null after counting.
  const Window* Resolve(BusSpace space, uint64_t address, size_t width, bool is_write);
  void RememberMiss(const Miss& miss);

  std::vector<Window> mmio_;  // by base, not overlapping
  std::vector<Window> ports_;
  // Counters are statistics: relaxed. [is_port][is_write] and [is_straddling][is_write].
  std::array<std::array<std::atomic<uint64_t>, 2>, 2> dispatched_{};
  std::array<std::array<std::atomic<uint64_t>, 2>, 2> missed_{};
  // Each slot is one encoded Miss, set once from 0 by compare-and-swap.
  std::array<std::atomic<uint64_t>, kMaxMisses> misses_{};
};

}  // namespace stasis

#endif  // STASIS_VMM_PLATFORM_BUS_H_
