// QueueLayout: where a driver put a split virtqueue, and the walk from a head to a checked chain.
#ifndef STASIS_DEVICES_VIRTIO_QUEUE_LAYOUT_H_
#define STASIS_DEVICES_VIRTIO_QUEUE_LAYOUT_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "devices/virtio/descriptor_chain.h"
#include "vmm/memory/guest_address.h"
#include "vmm/memory/guest_memory.h"

namespace stasis {

// All of it is the driver's choice: Validate before use.
struct QueueLayout {
  uint32_t size = 0;  // entries
  GuestAddress descriptors;
  GuestAddress avail;
  GuestAddress used;

  GuestAddress AvailEntry(uint16_t index) const { return avail + 4 + uint64_t{2} * (index % size); }
  GuestAddress UsedEntry(uint16_t index) const { return used + 4 + uint64_t{8} * (index % size); }
  // Where the driver says after which used entry it wants an interrupt, and the device after which
  // available entry it wants a notification (§2.7.6, §2.7.8).
  GuestAddress UsedEvent() const { return avail + 4 + uint64_t{2} * size; }
  GuestAddress AvailEvent() const { return used + 4 + uint64_t{8} * size; }
};

// Size a power of two up to `max_size`, rings aligned to 16/2/4 and inside memory (rules T7, Q1).
// Error: InvalidArgument that names the field.
absl::Status ValidateLayout(const GuestMemory& memory, const QueueLayout& layout,
                            uint32_t max_size);

// Follows the chain that starts at descriptor `head` of a validated layout, indirect table included
// (§2.7.5.3) when `indirect` was negotiated. Descriptors are read once, into host copies (rule Q6).
// Error: InvalidArgument when it breaks rule Q1; the queue is then to be poisoned (rule Q2).
absl::StatusOr<DescriptorChain> WalkChain(const GuestMemory& memory, const QueueLayout& layout,
                                          uint16_t head, bool indirect);

}  // namespace stasis

#endif  // STASIS_DEVICES_VIRTIO_QUEUE_LAYOUT_H_
