// VirtioDevice: what a device model implements below a transport, and what it gets to work with.
#ifndef STASIS_DEVICES_VIRTIO_VIRTIO_DEVICE_H_
#define STASIS_DEVICES_VIRTIO_VIRTIO_DEVICE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "devices/virtio/driver_signals.h"
#include "devices/virtio/virtqueue.h"

namespace stasis {

// One queue for the time from DRIVER_OK to the next reset.
struct ActiveQueue {
  std::shared_ptr<Virtqueue> queue;  // null: the driver did not set this queue up
  // Readable when the driver notified. The transport's; lives as long as the device, so that
  // notifications are kept while nobody listens (rule R4).
  int notify_fd = -1;

  // Empties `notify_fd` and counts what was in it. To be called before the queue is looked at.
  void TakeNotifications() const;
};

struct Activation {
  uint64_t features = 0;            // negotiated
  std::vector<ActiveQueue> queues;  // one per queue of the device, by index
};

// All virtual functions are called on vCPU threads, one at a time (the transport holds its lock),
// and return within a bounded time. What a device shares with threads of its own it guards itself.
// A device touches queues between Activate and the return of Reset only.
class VirtioDevice {
 public:
  virtual ~VirtioDevice() = default;

  virtual uint32_t device_id() const = 0;  // virtio 1.2 §5
  // Offered to the driver, VERSION_1 included. Constant.
  virtual uint64_t features() const = 0;
  // QueueNumMax of each queue, powers of two. Constant.
  virtual std::vector<uint16_t> queue_max_sizes() const = 0;

  // Bytes of the configuration space from `offset` on. `data` was zeroed: what is past the
  // populated layout stays as it is (rule T2). Write is for the few fields that a driver may
  // change.
  virtual void ReadConfig(uint64_t offset, absl::Span<uint8_t> data) = 0;
  virtual void WriteConfig(uint64_t /*offset*/, absl::Span<const uint8_t> /*data*/) {}

  // FEATURES_OK was granted: what the driver may now read of the configuration space can depend on
  // it. A reset takes it back.
  virtual void FeaturesNegotiated(uint64_t /*features*/) {}

  // The driver said DRIVER_OK. The first pass over the queues comes without a notification (R4).
  // Error: the device cannot work (no thread, no descriptor): the transport logs it, sets
  // NEEDS_RESET and goes on answering registers (rule R6).
  virtual absl::Status Activate(Activation activation) = 0;

  // The driver reset the device (also when it was never activated): gives up all chains, lets go of
  // the queues and stops whatever touches guest memory before it returns.
  // Error: something did not stop in time (rule R3): the device then shows NEEDS_RESET and is not
  // activated again until a later Reset succeeds.
  virtual absl::Status Reset() = 0;

  // Who of this device must stand still in a freeze (rule P). Asked once, before the first vCPU
  // runs.
  virtual std::vector<Freezable*> Freezables() { return {}; }

  // JSON object for dumps. Any thread, while frozen or ended.
  virtual std::string DumpState() const { return "{}"; }

  // Called once by the transport, before anything else.
  void set_signals(std::shared_ptr<DriverSignals> signals) { signals_ = std::move(signals); }

 protected:
  // To the driver. Threads that may outlive the device (rule R3) keep a reference of their own.
  const std::shared_ptr<DriverSignals>& signals() const { return signals_; }

 private:
  std::shared_ptr<DriverSignals> signals_;
};

}  // namespace stasis

#endif  // STASIS_DEVICES_VIRTIO_VIRTIO_DEVICE_H_
