// MmioDriver: talks to a virtio-mmio register window as a guest's driver does.
#ifndef STASIS_DEVICES_VIRTIO_TESTING_MMIO_DRIVER_H_
#define STASIS_DEVICES_VIRTIO_TESTING_MMIO_DRIVER_H_

#include <cstdint>

#include "devices/virtio/queue_layout.h"
#include "vmm/device/device.h"

namespace stasis {

class MmioDriver {
 public:
  explicit MmioDriver(BusDevice* device) : device_(device) {}

  uint32_t Read(uint64_t offset);
  void Write(uint64_t offset, uint32_t value);
  uint32_t status();
  uint64_t device_features();
  void WriteFeatures(uint64_t features);

  // Adds `bit` to the status, as drivers do; true if it reads back.
  bool AddStatus(uint32_t bit);
  // Reset up to FEATURES_OK with `features`; true if the device agreed.
  bool Negotiate(uint64_t features);
  // Sets queue `index` up; true if it became ready.
  bool SetUpQueue(uint32_t index, const QueueLayout& layout);
  bool DriverOk();
  void Reset();
  // QueueNotify as an MMIO exit.
  void Notify(uint32_t index);
  // Reads InterruptStatus and acknowledges what it read.
  uint32_t TakeInterrupt();

 private:
  BusDevice* const device_;
};

}  // namespace stasis

#endif  // STASIS_DEVICES_VIRTIO_TESTING_MMIO_DRIVER_H_
