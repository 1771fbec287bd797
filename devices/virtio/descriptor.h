// The split virtqueue's structures as they lie in guest memory (virtio 1.2 §2.7).
#ifndef STASIS_DEVICES_VIRTIO_DESCRIPTOR_H_
#define STASIS_DEVICES_VIRTIO_DESCRIPTOR_H_

#include <cstdint>

namespace stasis {

// Mirrors struct virtq_desc (§2.7.5). Every field is written by the guest: use it from a host copy
// and only after a check (rules Q1, Q6).
struct Descriptor {
  uint64_t address = 0;
  uint32_t length = 0;
  uint16_t flags = 0;
  uint16_t next = 0;
};
static_assert(sizeof(Descriptor) == 16);

// Descriptor::flags (§2.7.5).
constexpr uint16_t kDescriptorNext = 1;
constexpr uint16_t kDescriptorWrite = 2;  // the device writes, the driver reads
constexpr uint16_t kDescriptorIndirect = 4;

// Mirrors struct virtq_used_elem (§2.7.8).
struct UsedElement {
  uint32_t head = 0;
  uint32_t length = 0;  // bytes that the device wrote
};
static_assert(sizeof(UsedElement) == 8);

// Both rings: flags (u16), idx (u16), ring[size], then the event index (u16).
constexpr uint64_t kRingFlagsOffset = 0;
constexpr uint64_t kRingIndexOffset = 2;
constexpr uint64_t kRingEntriesOffset = 4;

constexpr uint16_t kAvailNoInterrupt = 1;  // avail.flags, §2.7.6
constexpr uint16_t kUsedNoNotify = 1;      // used.flags, §2.7.8

constexpr uint64_t kDescriptorAlignment = 16;
constexpr uint64_t kAvailAlignment = 2;
constexpr uint64_t kUsedAlignment = 4;
constexpr uint32_t kMaxQueueSize = 32768;  // §2.7

}  // namespace stasis

#endif  // STASIS_DEVICES_VIRTIO_DESCRIPTOR_H_
