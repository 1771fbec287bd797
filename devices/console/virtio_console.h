// VirtioConsole: a virtio console with several ports (virtio 1.2 §5.3), one of them for people.
#ifndef STASIS_DEVICES_CONSOLE_VIRTIO_CONSOLE_H_
#define STASIS_DEVICES_CONSOLE_VIRTIO_CONSOLE_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "devices/console/console_port.h"
#include "devices/console/console_protocol.h"
#include "devices/virtio/virtio_device.h"
#include "vmm/event/event_loop.h"

namespace stasis {

// Queues and host descriptors are worked on the event loop's thread. The driver's reset comes in on
// a vCPU thread: it takes the lock, which the loop holds for one bounded pass at a time, and takes
// the queues away; so nothing waits for the loop itself. A guest without F_MULTIPORT gets port 0.
// Destroyed (by its transport) on the loop's thread, or when the loop runs no more.
class VirtioConsole : public VirtioDevice, public Freezable {
 public:
  struct Options {
    std::string name = "virtio-console0";
    std::vector<ConsolePortOptions> ports;  // port 0 first; 1 to kMaxPorts, names unique
    uint16_t cols = 80;
    uint16_t rows = 25;
    // RESIZE carries columns first (virtio 1.2 §5.3.6.2); Linux drivers before the fix of 2025 read
    // rows first.
    bool resize_rows_first = false;
    // On the loop's thread: the guest opened or closed a port (a reset closes). A port that is a
    // console opens when the guest's driver takes it.
    std::function<void(uint32_t port, bool open)> on_port_open;
  };

  // `loop` outlives the console. Error: InvalidArgument that names the port.
  static absl::StatusOr<std::unique_ptr<VirtioConsole>> Create(Options options, EventLoop* loop);
  ~VirtioConsole() override;

  // The size of the terminal that port 0 stands for. On the loop's thread.
  void SetSize(uint16_t cols, uint16_t rows);

  // On the loop's thread: one pass now, for what the guest sent last before its machine ended.
  void Flush() { Pump(); }

  // Whether the guest has the port open. Any thread.
  bool IsPortOpen(uint32_t port) const;
  ConsolePort::Counters PortCounters(uint32_t port) const;

  // VirtioDevice
  uint32_t device_id() const override { return kVirtioConsoleId; }
  uint64_t features() const override;
  std::vector<uint16_t> queue_max_sizes() const override;
  void ReadConfig(uint64_t offset, absl::Span<uint8_t> data) override;
  absl::Status Activate(Activation activation) override;
  absl::Status Reset() override;
  std::vector<Freezable*> Freezables() override { return {this}; }
  std::string DumpState() const override;

  // Freezable: between RequestPause and Resume the loop leaves guest memory alone (rule P1).
  std::string name() const override { return options_.name; }
  void RequestPause() override { paused_.store(true, std::memory_order_release); }
  bool IsParked() const override;
  void Resume() override;

  static constexpr uint32_t kMaxPorts = 31;
  static constexpr uint16_t kQueueSize = 128;

 private:
  // Control messages to the driver, in the order in which they go out per port. One bit each, so
  // that a driver that asks again and again cannot make a backlog grow.
  enum Message : uint32_t {
    kAdd = 1,
    kIsConsole = 2,
    kSize = 4,
    kName = 8,
    kOpen = 16,
  };

  VirtioConsole(Options options, EventLoop* loop);

  // Runs `task` on the loop's thread, unless the console is gone by then.
  void Post(void (VirtioConsole::*task)());
  // On the loop: listens to the queues, once they exist.
  void StartListening();
  void OnNotify(uint32_t queue);
  // One pass over everything that may have work; asks for another one when a budget ran out.
  void Pump();
  void ReportPortChanges();
  void Handle(const ConsoleControl& message) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SetGuestOpen(uint32_t port, bool open) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool PumpControlOut() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);  // from the driver
  bool PumpControlIn() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);   // to the driver
  std::string Encode(uint32_t port, Message message) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Options options_;
  EventLoop* const loop_;
  std::vector<int> listening_;  // loop's thread: notification descriptors on the loop
  std::atomic<bool> paused_{false};

  mutable absl::Mutex mutex_;
  ConsoleConfig config_ ABSL_GUARDED_BY(mutex_);
  Activation active_ ABSL_GUARDED_BY(mutex_);  // no queues: no driver
  bool multiport_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::unique_ptr<ConsolePort>> ports_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::pair<uint32_t, bool>> port_changes_ ABSL_GUARDED_BY(mutex_);  // to be reported
  std::shared_ptr<VirtioConsole*> self_ = std::make_shared<VirtioConsole*>(this);
};

}  // namespace stasis

#endif  // STASIS_DEVICES_CONSOLE_VIRTIO_CONSOLE_H_
