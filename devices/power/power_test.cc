// The three ways in which a guest ends or loses its machine.
#include <gtest/gtest.h>

#include <vector>

#include "devices/power/acpi_power_registers.h"
#include "devices/power/i8042.h"
#include "devices/power/pvpanic.h"

namespace stasis {
namespace {

struct Recorder {
  MachineEventCallback callback() {
    return [this](MachineEvent event) { events.push_back(event); };
  }
  std::vector<MachineEvent> events;
};

void WriteByte(BusDevice& device, uint64_t offset, uint8_t value) {
  device.Write(offset, absl::MakeConstSpan(&value, 1));
}
uint8_t ReadByte(BusDevice& device, uint64_t offset) {
  uint8_t value = 0xaa;
  device.Read(offset, absl::MakeSpan(&value, 1));
  return value;
}

TEST(AcpiPowerRegistersTest, SleepEnableWithS5PowersOff) {
  Recorder recorder;
  AcpiPowerRegisters registers(recorder.callback());
  WriteByte(registers, kAcpiSleepStatusOffset, 0x80);  // Linux clears WAK_STS first
  WriteByte(registers, kAcpiSleepControlOffset, (kSleepTypeS5 << 2) | 0x20);
  EXPECT_EQ(recorder.events, std::vector{MachineEvent::kPowerOff});
}

TEST(AcpiPowerRegistersTest, SleepTypeWithoutEnableAndOtherTypesDoNothing) {
  Recorder recorder;
  AcpiPowerRegisters registers(recorder.callback());
  WriteByte(registers, kAcpiSleepControlOffset, kSleepTypeS5 << 2);
  for (uint8_t type = 0; type < 8; ++type) {
    if (type != kSleepTypeS5) WriteByte(registers, kAcpiSleepControlOffset, (type << 2) | 0x20);
  }
  EXPECT_TRUE(recorder.events.empty());
}

TEST(AcpiPowerRegistersTest, ControlReadsBackWithoutTheWriteOnlyEnable) {
  Recorder recorder;
  AcpiPowerRegisters registers(recorder.callback());
  WriteByte(registers, kAcpiSleepControlOffset, (kSleepTypeS5 << 2) | 0x20);
  EXPECT_EQ(ReadByte(registers, kAcpiSleepControlOffset), kSleepTypeS5 << 2);
  EXPECT_EQ(ReadByte(registers, kAcpiSleepStatusOffset), 0);
}

TEST(AcpiPowerRegistersTest, OnlyTheResetValueResets) {
  Recorder recorder;
  AcpiPowerRegisters registers(recorder.callback());
  WriteByte(registers, kAcpiResetOffset, 0x2);
  WriteByte(registers, 3, kAcpiResetValue);
  EXPECT_TRUE(recorder.events.empty());
  WriteByte(registers, kAcpiResetOffset, kAcpiResetValue);
  EXPECT_EQ(recorder.events, std::vector{MachineEvent::kReset});
}

TEST(I8042Test, ResetCommandResets) {
  Recorder recorder;
  I8042 controller(recorder.callback());
  WriteByte(controller, kI8042CommandOffset, 0xfe);
  EXPECT_EQ(recorder.events, std::vector{MachineEvent::kReset});
}

TEST(I8042Test, OtherCommandsAndDataDoNothing) {
  Recorder recorder;
  I8042 controller(recorder.callback());
  for (int command = 0; command < 0x100; ++command) {
    WriteByte(controller, kI8042DataOffset, command);
    if (command != kI8042ResetCommand) WriteByte(controller, kI8042CommandOffset, command);
  }
  EXPECT_TRUE(recorder.events.empty());
}

TEST(I8042Test, StatusLetsTheResetCommandInAndAProbeGivesUp) {
  Recorder recorder;
  I8042 controller(recorder.callback());
  const uint8_t status = ReadByte(controller, kI8042CommandOffset);
  EXPECT_EQ(status & 0x02, 0) << "IBF: kb_wait would spin";
  EXPECT_EQ(status & 0x01, 1) << "OBF: a driver would go on probing";
}

TEST(I8042Test, PortsOfOthersInTheWindowReadAllOnes) {
  Recorder recorder;
  I8042 controller(recorder.callback());
  EXPECT_EQ(ReadByte(controller, 1), 0xff);
}

TEST(PvPanicTest, ReadTellsTheSupportedEvents) {
  Recorder recorder;
  PvPanic panic(recorder.callback());
  EXPECT_EQ(ReadByte(panic, 0), 0x3);
}

TEST(PvPanicTest, EachBitIsItsEvent) {
  Recorder recorder;
  PvPanic panic(recorder.callback());
  WriteByte(panic, 0, 0x0);
  WriteByte(panic, 0, 0xfc);
  EXPECT_TRUE(recorder.events.empty());
  WriteByte(panic, 0, kPvPanicPanicked);
  WriteByte(panic, 0, kPvPanicCrashLoaded);
  EXPECT_EQ(recorder.events, (std::vector{MachineEvent::kPanic, MachineEvent::kCrashLoaded}));
}

}  // namespace
}  // namespace stasis
