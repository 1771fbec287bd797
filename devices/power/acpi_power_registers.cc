#include "devices/power/acpi_power_registers.h"

#include <algorithm>

#include "absl/strings/str_format.h"

namespace stasis {
namespace {

constexpr uint8_t kSleepEnable = 0x20;
constexpr uint8_t kSleepTypeMask = 0x1c;
constexpr int kSleepTypeShift = 2;

}  // namespace

void AcpiPowerRegisters::Read(uint64_t offset, absl::Span<uint8_t> data) {
  std::fill(data.begin(), data.end(), 0);
  if (offset == kAcpiSleepControlOffset) data[0] = sleep_control_.load();
}

void AcpiPowerRegisters::Write(uint64_t offset, absl::Span<const uint8_t> data) {
  // Registers are bytes; a wider port write reaches the neighbours too, as on a real bus.
  for (size_t i = 0; i < data.size(); ++i) WriteByte(offset + i, data[i]);
}

void AcpiPowerRegisters::WriteByte(uint64_t offset, uint8_t value) {
  if (offset == kAcpiSleepControlOffset) {
    sleep_control_.store(value & ~kSleepEnable);
    const int type = (value & kSleepTypeMask) >> kSleepTypeShift;
    if ((value & kSleepEnable) != 0 && type == kSleepTypeS5) on_event_(MachineEvent::kPowerOff);
  } else if (offset == kAcpiResetOffset && value == kAcpiResetValue) {
    on_event_(MachineEvent::kReset);
  }
}

std::string AcpiPowerRegisters::DumpState() const {
  return absl::StrFormat("{\"sleep_control\":%d}", sleep_control_.load());
}

}  // namespace stasis
