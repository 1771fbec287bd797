#include "tools/harness/guest_devices.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include <utility>

#include "devices/console/virtio_console.h"
#include "devices/power/acpi_power_registers.h"
#include "devices/power/dump_request.h"
#include "devices/power/i8042.h"
#include "devices/power/pvpanic.h"
#include "devices/serial/serial_16550.h"
#include "devices/virtio/mmio_registers.h"
#include "devices/virtio/mmio_transport.h"
#include "guest/wire/messages.h"
#include "vmm/x86_64/platform_layout.h"

namespace stasis {
namespace {

using DeviceOr = absl::StatusOr<std::unique_ptr<BusDevice>>;

void OnMachineEvent(Machine* machine, MachineEvent event) {
  switch (event) {
    case MachineEvent::kPowerOff:
      machine->NotifyEnd(EndKind::kPowerOff, "the guest powered off");
      return;
    case MachineEvent::kReset:
      machine->NotifyEnd(EndKind::kReset, "the guest asked for a reset");
      return;
    case MachineEvent::kPanic:
      machine->NotifyEnd(EndKind::kPanic, "the guest kernel notified a panic");
      return;
    case MachineEvent::kCrashLoaded:
      return;  // its crash kernel takes over and says the rest
    case MachineEvent::kDumpRequest:
      return;  // another device's
  }
}

template <typename Device>
absl::Status AddPowerDevice(Machine* machine, const char* name, const char* compatible,
                            uint64_t base, uint64_t window) {
  auto factory = [machine](const DeviceContext&) -> DeviceOr {
    return std::make_unique<Device>(
        [machine](MachineEvent event) { OnMachineEvent(machine, event); });
  };
  return machine
      ->AddPortDevice(name, compatible, static_cast<uint16_t>(base), static_cast<uint16_t>(window),
                      /*gsi=*/-1, factory)
      .status();
}

absl::Status AddPowerDevices(Machine* machine) {
  absl::Status status = AddPowerDevice<AcpiPowerRegisters>(machine, "power", kPowerCompatible,
                                                           kAcpiPowerPort, kAcpiPowerWindow);
  status.Update(
      AddPowerDevice<I8042>(machine, "keyboard", kKeyboardCompatible, kI8042Port, kI8042Window));
  status.Update(
      AddPowerDevice<PvPanic>(machine, "panic", kPanicCompatible, kPvPanicPort, kPvPanicWindow));
  return status;
}

}  // namespace

absl::StatusOr<std::unique_ptr<GuestDevices>> GuestDevices::Add(Machine* machine, EventLoop* loop) {
  std::unique_ptr<GuestDevices> devices(new GuestDevices);
  for (int port = 0; port < kPortCount; ++port) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0) {
      return absl::ErrnoToStatus(errno, "socketpair");
    }
    devices->host_fds_[port] = pair[0];
    devices->guest_fds_[port] = pair[1];
  }
  absl::Status status = devices->AddSerial(machine, loop);
  if (status.ok()) status = devices->AddConsole(machine, loop);
  if (status.ok()) status = AddPowerDevices(machine);
  if (status.ok()) status = devices->AddDumpRequest(machine, loop);
  if (!status.ok()) return status;
  return devices;
}

GuestDevices::~GuestDevices() {
  for (int port = 0; port < kPortCount; ++port) {
    if (host_fds_[port] >= 0) close(host_fds_[port]);
    if (guest_fds_[port] >= 0) close(guest_fds_[port]);
  }
}

absl::Status GuestDevices::AddSerial(Machine* machine, EventLoop* loop) {
  const int fd = guest_fds_[kSerial];
  auto factory = [fd, loop](const DeviceContext& context) -> DeviceOr {
    absl::StatusOr<std::unique_ptr<Serial16550>> serial = Serial16550::Create(
        {.input_fd = fd, .output_fd = fd, .line = context.interrupt, .loop = loop});
    if (!serial.ok()) return serial.status();
    return *std::move(serial);
  };
  return machine
      ->AddPortDevice("serial", kSerialCompatible, kSerialPort, kSerialWindow, kSerialGsi, factory)
      .status();
}

absl::Status GuestDevices::AddConsole(Machine* machine, EventLoop* loop) {
  auto factory = [this, loop](const DeviceContext& context) -> DeviceOr {
    const int hvc0 = guest_fds_[kHvc0];
    const int agent = guest_fds_[kAgent];
    VirtioConsole::Options options;
    options.ports = {
        {.name = "stasis.console", .is_console = true, .input_fd = hvc0, .output_fd = hvc0},
        {.name = wire::kPortName, .input_fd = agent, .output_fd = agent}};
    absl::StatusOr<std::unique_ptr<VirtioConsole>> console =
        VirtioConsole::Create(std::move(options), loop);
    if (!console.ok()) return console.status();
    console_ = console->get();
    return std::make_unique<VirtioMmioDevice>(context.memory, *std::move(console),
                                              context.interrupt, "virtio-console0");
  };
  return machine->AddMmioDevice("virtio_mmio", "virtio,mmio", kVirtioMmioWindow, factory).status();
}

absl::Status GuestDevices::AddDumpRequest(Machine* machine, EventLoop* loop) {
  auto factory = [this, loop](const DeviceContext&) -> DeviceOr {
    return std::make_unique<DumpRequest>([this, loop](MachineEvent) {
      // A freeze waits for the vCPU that asks: it must be asked for on another thread.
      loop->Post([this] {
        if (on_dump_request_) on_dump_request_();
      });
    });
  };
  return machine
      ->AddPortDevice("dump-request", kDumpRequestCompatible,
                      static_cast<uint16_t>(kDumpRequestPort),
                      static_cast<uint16_t>(kDumpRequestWindow), /*gsi=*/-1, factory)
      .status();
}

void GuestDevices::Resize(uint16_t rows, uint16_t columns) {
  if (console_ != nullptr) console_->SetSize(columns, rows);
}

}  // namespace stasis
