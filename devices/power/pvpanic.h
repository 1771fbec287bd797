// PvPanic: the port through which a guest kernel says that it panicked.
#ifndef STASIS_DEVICES_POWER_PVPANIC_H_
#define STASIS_DEVICES_POWER_PVPANIC_H_

#include <cstdint>
#include <string>
#include <utility>

#include "devices/power/machine_event.h"
#include "vmm/device/device.h"

namespace stasis {

constexpr uint64_t kPvPanicPort = 0x505;
constexpr uint64_t kPvPanicWindow = 1;
constexpr uint8_t kPvPanicPanicked = 0x1;
constexpr uint8_t kPvPanicCrashLoaded = 0x2;

// One byte: a read gives the events that are understood, a write raises the events of its bits.
// Linux finds it through the DSDT (_HID QEMU0001) with CONFIG_PVPANIC_MMIO; the guest agent may
// write the port itself. Stateless: any vCPU thread.
class PvPanic : public BusDevice {
 public:
  explicit PvPanic(MachineEventCallback on_event) : on_event_(std::move(on_event)) {}

  std::string name() const override { return "pvpanic"; }
  void Read(uint64_t offset, absl::Span<uint8_t> data) override;
  void Write(uint64_t offset, absl::Span<const uint8_t> data) override;

 private:
  const MachineEventCallback on_event_;
};

}  // namespace stasis

#endif  // STASIS_DEVICES_POWER_PVPANIC_H_
