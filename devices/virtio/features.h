// Feature and status bits that belong to virtio itself, not to one device (virtio 1.2 §2.1, §6).
#ifndef STASIS_DEVICES_VIRTIO_FEATURES_H_
#define STASIS_DEVICES_VIRTIO_FEATURES_H_

#include <cstdint>

namespace stasis {

constexpr uint64_t kVirtioFeatureIndirectDesc = uint64_t{1} << 28;
constexpr uint64_t kVirtioFeatureEventIdx = uint64_t{1} << 29;
constexpr uint64_t kVirtioFeatureVersion1 = uint64_t{1} << 32;

constexpr uint32_t kStatusAcknowledge = 0x01;
constexpr uint32_t kStatusDriver = 0x02;
constexpr uint32_t kStatusDriverOk = 0x04;
constexpr uint32_t kStatusFeaturesOk = 0x08;
constexpr uint32_t kStatusNeedsReset = 0x40;
constexpr uint32_t kStatusFailed = 0x80;

// InterruptStatus (§4.2.2).
constexpr uint32_t kInterruptUsedBuffers = 1;
constexpr uint32_t kInterruptConfigChanged = 2;

}  // namespace stasis

#endif  // STASIS_DEVICES_VIRTIO_FEATURES_H_
