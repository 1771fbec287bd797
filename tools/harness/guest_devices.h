// The devices that every machine of this program has besides disks.
#ifndef STASIS_TOOLS_HARNESS_GUEST_DEVICES_H_
#define STASIS_TOOLS_HARNESS_GUEST_DEVICES_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "vmm/event/event_loop.h"
#include "vmm/machine.h"

namespace stasis {

class VirtioConsole;

// Our ends of the guest's character devices. Outlives the machine, whose devices hold the other
// ends; lives on the loop's thread.
class GuestDevices {
 public:
  enum Port { kSerial, kHvc0, kAgent, kPortCount };

  // Adds serial port, virtio console, power-off, reset and panic devices to `machine`, before its
  // LoadLinux. `loop` serves the consoles; it outlives the machine.
  static absl::StatusOr<std::unique_ptr<GuestDevices>> Add(Machine* machine, EventLoop* loop);
  ~GuestDevices();
  GuestDevices(const GuestDevices&) = delete;
  GuestDevices& operator=(const GuestDevices&) = delete;

  // A non-blocking stream socket, this object's.
  int fd(Port port) const { return host_fds_[port]; }

  // Is called on the loop's thread when the guest asked for a dump, which it may do at any time.
  void set_on_dump_request(std::function<void()> request) { on_dump_request_ = std::move(request); }

  // The size of hvc0. While the machine lives.
  void Resize(uint16_t rows, uint16_t columns);

 private:
  GuestDevices() = default;
  absl::Status AddSerial(Machine* machine, EventLoop* loop);
  absl::Status AddConsole(Machine* machine, EventLoop* loop);
  absl::Status AddDumpRequest(Machine* machine, EventLoop* loop);

  int host_fds_[kPortCount] = {-1, -1, -1};
  int guest_fds_[kPortCount] = {-1, -1, -1};
  VirtioConsole* console_ = nullptr;  // the machine's
  std::function<void()> on_dump_request_;
};

}  // namespace stasis

#endif  // STASIS_TOOLS_HARNESS_GUEST_DEVICES_H_
