#include "devices/virtio/testing/mmio_driver.h"

#include <cstring>

#include "devices/virtio/features.h"
#include "devices/virtio/mmio_registers.h"

namespace stasis {

uint32_t MmioDriver::Read(uint64_t offset) {
  uint8_t data[4];
  device_->Read(offset, absl::MakeSpan(data));
  uint32_t value;
  std::memcpy(&value, data, sizeof(value));
  return value;
}

void MmioDriver::Write(uint64_t offset, uint32_t value) {
  uint8_t data[4];
  std::memcpy(data, &value, sizeof(value));
  device_->Write(offset, absl::MakeConstSpan(data));
}

uint32_t MmioDriver::status() { return Read(mmio::kStatus); }

uint64_t MmioDriver::device_features() {
  Write(mmio::kDeviceFeaturesSel, 1);
  const uint64_t high = Read(mmio::kDeviceFeatures);
  Write(mmio::kDeviceFeaturesSel, 0);
  return (high << 32) | Read(mmio::kDeviceFeatures);
}

void MmioDriver::WriteFeatures(uint64_t features) {
  Write(mmio::kDriverFeaturesSel, 1);
  Write(mmio::kDriverFeatures, features >> 32);
  Write(mmio::kDriverFeaturesSel, 0);
  Write(mmio::kDriverFeatures, features & 0xffffffff);
}

bool MmioDriver::AddStatus(uint32_t bit) {
  Write(mmio::kStatus, status() | bit);
  return (status() & bit) != 0;
}

bool MmioDriver::Negotiate(uint64_t features) {
  Reset();
  if (!AddStatus(kStatusAcknowledge) || !AddStatus(kStatusDriver)) return false;
  WriteFeatures(features);
  return AddStatus(kStatusFeaturesOk);
}

bool MmioDriver::SetUpQueue(uint32_t index, const QueueLayout& layout) {
  Write(mmio::kQueueSel, index);
  Write(mmio::kQueueNum, layout.size);
  Write(mmio::kQueueDescLow, layout.descriptors.value() & 0xffffffff);
  Write(mmio::kQueueDescHigh, layout.descriptors.value() >> 32);
  Write(mmio::kQueueDriverLow, layout.avail.value() & 0xffffffff);
  Write(mmio::kQueueDriverHigh, layout.avail.value() >> 32);
  Write(mmio::kQueueDeviceLow, layout.used.value() & 0xffffffff);
  Write(mmio::kQueueDeviceHigh, layout.used.value() >> 32);
  Write(mmio::kQueueReady, 1);
  return Read(mmio::kQueueReady) == 1;
}

bool MmioDriver::DriverOk() { return AddStatus(kStatusDriverOk); }

void MmioDriver::Reset() { Write(mmio::kStatus, 0); }

void MmioDriver::Notify(uint32_t index) { Write(mmio::kQueueNotify, index); }

uint32_t MmioDriver::TakeInterrupt() {
  const uint32_t bits = Read(mmio::kInterruptStatus);
  Write(mmio::kInterruptAck, bits);
  return bits;
}

}  // namespace stasis
