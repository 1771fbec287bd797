// VirtioMmioDevice: puts a VirtioDevice on the bus behind a virtio-mmio register window (rules T,
// S).
#ifndef STASIS_DEVICES_VIRTIO_MMIO_TRANSPORT_H_
#define STASIS_DEVICES_VIRTIO_MMIO_TRANSPORT_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "devices/virtio/driver_signals.h"
#include "devices/virtio/mmio_registers.h"
#include "devices/virtio/queue_layout.h"
#include "devices/virtio/virtio_device.h"
#include "devices/virtio/virtqueue.h"
#include "vmm/device/device.h"
#include "vmm/memory/guest_memory.h"

namespace stasis {

// Registers are served on vCPU threads under one lock. InterruptStatus, Status and ConfigGeneration
// are atomics in DriverSignals, because device threads change them without that lock. `memory` and
// `line` outlive this object.
class VirtioMmioDevice : public BusDevice {
 public:
  VirtioMmioDevice(const GuestMemory* memory, std::unique_ptr<VirtioDevice> device,
                   InterruptLine* line, std::string name);
  // Stops the device as a reset does (rule R9).
  ~VirtioMmioDevice() override;

  std::string name() const override { return name_; }
  void Read(uint64_t offset, absl::Span<uint8_t> data) override;
  void Write(uint64_t offset, absl::Span<const uint8_t> data) override;
  // One per queue: a 4-byte write of its index to QueueNotify (rule T10).
  std::vector<NotifyEvent> NotifyEvents() override;
  std::vector<Freezable*> Freezables() override { return device_->Freezables(); }
  std::string DumpState() const override;

  VirtioDevice* device() { return device_.get(); }
  DriverSignals& signals() { return *signals_; }
  // Of one queue of the device. Any thread, no lock.
  const QueueCounters& queue_counters(size_t queue) const { return *queues_[queue].counters; }

 private:
  // A queue as the driver sets it up; `queue` exists from DRIVER_OK to reset.
  struct QueueState {
    uint16_t max_size = 0;
    QueueLayout layout;
    bool ready = false;
    int notify_fd = -1;
    std::shared_ptr<QueueCounters> counters = std::make_shared<QueueCounters>();
    std::shared_ptr<Virtqueue> queue;
  };

  uint32_t ReadRegister(uint64_t offset) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void WriteRegister(uint64_t offset, uint32_t value) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void WriteDriverFeatures(uint32_t value) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void WriteQueueRegister(uint64_t offset, uint32_t value) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void WriteQueueReady(QueueState& queue, uint32_t value) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void WriteStatus(uint32_t value) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void NotifyQueue(uint32_t index);
  std::string FeatureRefusal() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Activate() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Reset() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The queue that QueueSel selects; null outside of the device's queues (rule T7).
  QueueState* Selected() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const GuestMemory* const memory_;
  const std::string name_;
  const std::shared_ptr<DriverSignals> signals_;
  std::unique_ptr<VirtioDevice> device_;  // never null before destruction

  mutable absl::Mutex mutex_;
  uint32_t device_features_sel_ ABSL_GUARDED_BY(mutex_) = 0;
  uint32_t driver_features_sel_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t driver_features_ ABSL_GUARDED_BY(mutex_) = 0;
  // What both sides agreed on: 0 before FEATURES_OK (rule S9).
  uint64_t negotiated_features_ ABSL_GUARDED_BY(mutex_) = 0;
  uint32_t queue_sel_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = true;  // false: the last Reset of the device failed (R3)
  // The vector and the descriptors in it never change; the rest is guarded by mutex_.
  std::vector<QueueState> queues_;
  std::atomic<uint64_t> notify_exits_{0};
};

}  // namespace stasis

#endif  // STASIS_DEVICES_VIRTIO_MMIO_TRANSPORT_H_
