// I8042: as much of a keyboard controller as a kernel needs to reset the machine with it.
#ifndef STASIS_DEVICES_POWER_I8042_H_
#define STASIS_DEVICES_POWER_I8042_H_

#include <cstdint>
#include <string>
#include <utility>

#include "devices/power/machine_event.h"
#include "vmm/device/device.h"

namespace stasis {

constexpr uint64_t kI8042Port = 0x60;  // one window for both ports
constexpr uint64_t kI8042Window = 5;   // 0x60 data ... 0x64 status and command
constexpr uint64_t kI8042DataOffset = 0;
constexpr uint64_t kI8042CommandOffset = 4;
constexpr uint8_t kI8042ResetCommand = 0xfe;  // pulses the processor's reset line

// Ports 0x60 and 0x64 (0x61-0x63, which are not this device's, read as all ones). Status always
// reads 0x01: "input buffer empty", so that a kernel that waits to send the reset command (Linux's
// kb_wait) goes on at once; and "output buffer full", so that a keyboard driver that probes for a
// controller by draining it gives up after a few reads instead of waiting for answers to commands.
// Stateless: any vCPU thread.
class I8042 : public BusDevice {
 public:
  explicit I8042(MachineEventCallback on_event) : on_event_(std::move(on_event)) {}

  std::string name() const override { return "i8042"; }
  void Read(uint64_t offset, absl::Span<uint8_t> data) override;
  void Write(uint64_t offset, absl::Span<const uint8_t> data) override;

 private:
  const MachineEventCallback on_event_;
};

}  // namespace stasis

#endif  // STASIS_DEVICES_POWER_I8042_H_
