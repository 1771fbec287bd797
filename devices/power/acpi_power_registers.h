// AcpiPowerRegisters: sleep and reset registers of a hardware-reduced ACPI machine.
#ifndef STASIS_DEVICES_POWER_ACPI_POWER_REGISTERS_H_
#define STASIS_DEVICES_POWER_ACPI_POWER_REGISTERS_H_

#include <atomic>
#include <cstdint>
#include <string>
#include <utility>

#include "devices/power/machine_event.h"
#include "vmm/device/device.h"

namespace stasis {

// A window of four byte-wide ports, named in the FADT (SLEEP_CONTROL_REG, SLEEP_STATUS_REG,
// RESET_REG, RESET_VALUE; ACPI 6.5 §4.8.3.6, §4.8.3.7):
//
//   offset 0  sleep control: bits 2-4 SLP_TYP, bit 5 SLP_EN. Writing SLP_EN with kSleepTypeS5
//   powers
//             off; other sleep types are ignored (the DSDT offers S5 only). Reads as last written
//             without SLP_EN, which is write-only.
//   offset 1  sleep status: bit 7 WAK_STS, never set, as the machine never wakes. Writes (Linux
//             clears WAK_STS before it sleeps) have no effect.
//   offset 2  reset: writing kAcpiResetValue resets. Reads as 0.
//   offset 3  unused: reads as 0.
constexpr uint64_t kAcpiPowerPort = 0x600;
constexpr uint64_t kAcpiPowerWindow = 4;
constexpr uint64_t kAcpiSleepControlOffset = 0;
constexpr uint64_t kAcpiSleepStatusOffset = 1;
constexpr uint64_t kAcpiResetOffset = 2;
constexpr uint8_t kAcpiResetValue = 0x1;
constexpr uint8_t kSleepTypeS5 = 5;  // first element of \_S5 in the DSDT

// Any vCPU thread, no lock.
class AcpiPowerRegisters : public BusDevice {
 public:
  explicit AcpiPowerRegisters(MachineEventCallback on_event) : on_event_(std::move(on_event)) {}

  std::string name() const override { return "acpi-power"; }
  void Read(uint64_t offset, absl::Span<uint8_t> data) override;
  void Write(uint64_t offset, absl::Span<const uint8_t> data) override;
  std::string DumpState() const override;

 private:
  void WriteByte(uint64_t offset, uint8_t value);

  const MachineEventCallback on_event_;
  std::atomic<uint8_t> sleep_control_{0};
};

}  // namespace stasis

#endif  // STASIS_DEVICES_POWER_ACPI_POWER_REGISTERS_H_
