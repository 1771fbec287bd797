// What a device implements and what the machine gives it. Devices see guest memory and an interrupt
// line; they never see KVM.
#ifndef STASIS_VMM_DEVICE_DEVICE_H_
#define STASIS_VMM_DEVICE_DEVICE_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"

namespace stasis {

// One edge-triggered interrupt input of the platform's interrupt controller.
class InterruptLine {
 public:
  virtual ~InterruptLine() = default;

  // Makes one edge. May be called from any thread, never blocks, is async-signal-safe.
  virtual void Trigger() = 0;
};

// A guest write that the machine turns into an eventfd signal instead of an exit where KVM offers
// it (ioeventfd). The write also reaches BusDevice::Write when KVM does not, so that both ways must
// lead to the same code (rule T10).
struct NotifyEvent {
  uint64_t offset = 0;      // into the device's window
  uint32_t length = 4;      // width of the write in bytes
  uint64_t data_match = 0;  // value that the write must carry
  int event_fd = -1;        // owned by the device, lives as long as the device
};

// A window of MMIO or port addresses. Read and Write are called on vCPU threads, several at a time;
// they return within a bounded time and never wait for the guest.
class BusDevice {
 public:
  virtual ~BusDevice() = default;

  // Name for logs, dumps and --json: "virtio-console0", "serial0".
  virtual std::string name() const = 0;

  // Fills `data` (1, 2, 4 or 8 bytes) from `offset` into the window. The access lies wholly inside
  // the window: the bus answers what does not (rule T11).
  virtual void Read(uint64_t offset, absl::Span<uint8_t> data) = 0;
  virtual void Write(uint64_t offset, absl::Span<const uint8_t> data) = 0;

  // Asked once, after the device has its place on the bus.
  virtual std::vector<NotifyEvent> NotifyEvents() { return {}; }

  // Who of this device must stand still in a freeze (rule P). Asked once, before the first vCPU
  // runs; they live as long as the device.
  virtual std::vector<class Freezable*> Freezables() { return {}; }

  // JSON object with the device's state for a dump: registers, queues, counters. May be called on
  // any thread while the machine is frozen or ended.
  virtual std::string DumpState() const { return "{}"; }
};

// A thread that touches guest memory and must stand still during a freeze (rules F, P).
class Freezable {
 public:
  virtual ~Freezable() = default;
  virtual std::string name() const = 0;
  // `on_parked` is called each time it has parked, on the thread that did, so that the coordinator
  // need not ask again and again; it may be left out by one that parks within a bounded pass. Set
  // once, before the first RequestPause.
  virtual void SetOnParked(std::function<void()> /*on_parked*/) {}
  // Asks the participant to park; returns at once.
  virtual void RequestPause() = 0;
  // True once it is parked (acquire): it touches no guest memory until Resume.
  virtual bool IsParked() const = 0;
  virtual void Resume() = 0;
};

}  // namespace stasis

#endif  // STASIS_VMM_DEVICE_DEVICE_H_
