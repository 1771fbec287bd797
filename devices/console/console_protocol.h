// The virtio console as driver and device see it (virtio 1.2 §5.3).
#ifndef STASIS_DEVICES_CONSOLE_CONSOLE_PROTOCOL_H_
#define STASIS_DEVICES_CONSOLE_CONSOLE_PROTOCOL_H_

#include <cstdint>

namespace stasis {

constexpr uint32_t kVirtioConsoleId = 3;
constexpr uint64_t kConsoleFeatureSize = uint64_t{1} << 0;
constexpr uint64_t kConsoleFeatureMultiport = uint64_t{1} << 1;

// §5.3.2: port 0, then the control queues, then the other ports.
constexpr uint32_t kControlReceiveQueue = 2;   // device to driver
constexpr uint32_t kControlTransmitQueue = 3;  // driver to device
constexpr uint32_t ReceiveQueueOf(uint32_t port) { return port == 0 ? 0 : 2 * port + 2; }
constexpr uint32_t TransmitQueueOf(uint32_t port) { return ReceiveQueueOf(port) + 1; }

// Mirrors struct virtio_console_config (§5.3.4) up to what is offered.
struct ConsoleConfig {
  uint16_t cols = 80;
  uint16_t rows = 25;
  uint32_t max_nr_ports = 1;
};
static_assert(sizeof(ConsoleConfig) == 8);

// Mirrors struct virtio_console_control (§5.3.6.2). From the driver: not to be trusted.
struct ConsoleControl {
  uint32_t id = 0;
  uint16_t event = 0;
  uint16_t value = 0;
};
static_assert(sizeof(ConsoleControl) == 8);

// ConsoleControl::event.
constexpr uint16_t kConsoleDeviceReady = 0;
constexpr uint16_t kConsoleDeviceAdd = 1;
constexpr uint16_t kConsolePortReady = 3;
constexpr uint16_t kConsoleConsolePort = 4;
constexpr uint16_t kConsoleResize = 5;
constexpr uint16_t kConsolePortOpen = 6;
constexpr uint16_t kConsolePortName = 7;

}  // namespace stasis

#endif  // STASIS_DEVICES_CONSOLE_CONSOLE_PROTOCOL_H_
