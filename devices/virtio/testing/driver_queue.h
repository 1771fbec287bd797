// DriverQueue: the driver's side of a split virtqueue, built in guest memory as a guest would.
#ifndef STASIS_DEVICES_VIRTIO_TESTING_DRIVER_QUEUE_H_
#define STASIS_DEVICES_VIRTIO_TESTING_DRIVER_QUEUE_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "devices/virtio/descriptor.h"
#include "devices/virtio/queue_layout.h"
#include "vmm/memory/guest_memory.h"

namespace stasis {

// Hands out guest memory from `next` upwards, for rings and buffers; never takes it back.
class DriverHeap {
 public:
  DriverHeap(const GuestMemory* memory, GuestAddress start) : memory_(memory), next_(start) {}

  GuestAddress Allocate(uint64_t length, uint64_t alignment = 16);
  // A fresh piece of memory that holds `bytes`.
  GuestAddress Put(absl::string_view bytes);
  std::string Get(GuestAddress address, uint64_t length) const;
  const GuestMemory* memory() const { return memory_; }
  uint64_t used() const { return next_.value(); }  // up to which address it is handed out

 private:
  const GuestMemory* const memory_;
  GuestAddress next_;
};

// One piece of a buffer; `write` as the device sees it.
struct DriverBuffer {
  GuestAddress address;
  uint32_t length = 0;
  bool write = false;
};

// Well-behaved through Add and TakeUsed; as hostile as a test likes through the rest. One thread.
class DriverQueue {
 public:
  DriverQueue(DriverHeap* heap, uint16_t size, uint64_t features = 0);

  const QueueLayout& layout() const { return layout_; }
  size_t free_descriptors() const { return free_.size(); }

  // Makes a chain of `buffers` available and returns its head. The test must not add more than the
  // queue holds.
  uint16_t Add(const std::vector<DriverBuffer>& buffers);
  // The same, as one descriptor that points to an indirect table.
  uint16_t AddIndirect(const std::vector<DriverBuffer>& buffers);
  // Shorthands: one device-readable buffer with this content; one device-writable of this length.
  uint16_t AddReadable(absl::string_view bytes);
  uint16_t AddWritable(uint32_t length);

  // The next chain that the device gave back. Its descriptors are free again. A head that was never
  // added frees nothing.
  std::optional<UsedElement> TakeUsed();
  // The device-writable bytes of a chain that came back, `used.length` of them.
  std::string Written(const UsedElement& used) const;

  // Whether a driver would notify for what was added since the last call (§2.7.13).
  bool NeedsKick();

  // Driver's wishes.
  void SetNoInterrupt(bool no_interrupt);
  void SetUsedEvent(uint16_t index);
  // Device's wishes and progress.
  bool device_wants_no_notify() const;
  uint16_t avail_event() const;
  uint16_t used_index() const;

  // Raw access for malformed input.
  void SetDescriptor(uint16_t index, const Descriptor& descriptor);
  void PutAvail(uint16_t head);  // a ring entry and the index after it
  void SetAvailIndex(uint16_t index);
  uint16_t avail_index() const { return avail_index_; }

 private:
  uint16_t TakeFree();

  DriverHeap* const heap_;
  const GuestMemory* const memory_;
  const bool event_idx_;
  QueueLayout layout_;
  std::vector<uint16_t> free_;
  std::map<uint16_t, std::vector<uint16_t>> chains_;       // head → descriptors in the table
  std::map<uint16_t, std::vector<DriverBuffer>> buffers_;  // head → what the chain is made of
  uint16_t avail_index_ = 0;
  uint16_t kicked_index_ = 0;
  uint16_t used_seen_ = 0;
};

}  // namespace stasis

#endif  // STASIS_DEVICES_VIRTIO_TESTING_DRIVER_QUEUE_H_
