// Virtqueue: the device's side of one split virtqueue (virtio 1.2 §2.7; rules Q1-Q6).
#ifndef STASIS_DEVICES_VIRTIO_VIRTQUEUE_H_
#define STASIS_DEVICES_VIRTIO_VIRTQUEUE_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "devices/virtio/descriptor_chain.h"
#include "devices/virtio/driver_signals.h"
#include "devices/virtio/queue_layout.h"
#include "vmm/memory/guest_memory.h"

namespace stasis {

// Lives as long as the device, across resets (rule R7). Readable from any thread.
struct QueueCounters {
  std::atomic<uint64_t> notifications{0};  // kicks, however they came
  std::atomic<uint64_t> chains_taken{0};
  std::atomic<uint64_t> chains_returned{0};
  std::atomic<uint64_t> interrupts{0};
  std::atomic<uint64_t> interrupts_suppressed{0};
  std::atomic<uint64_t> poisonings{0};
};

// From DRIVER_OK to reset. One thread at a time calls it; the const members may be called from any.
//
//   do {
//     queue.DisableNotifications();
//     while (auto chain = queue.Pop()) { ...; queue.Return(*std::move(chain), written); }
//     queue.PublishUsed();
//   } while (queue.EnableNotifications());
class Virtqueue {
 public:
  // `layout` was validated. `features` are the negotiated ones: INDIRECT_DESC and EVENT_IDX matter.
  Virtqueue(const GuestMemory* memory, const QueueLayout& layout, uint64_t features,
            std::string name, std::shared_ptr<DriverSignals> signals,
            std::shared_ptr<QueueCounters> counters);

  // The next buffer from the driver, or nothing: none there, or a queue of this device is poisoned
  // (a bad structure found here poisons it, rule Q2).
  std::optional<DescriptorChain> Pop();

  // Puts `chain` into the used ring with the number of bytes written into it. The driver sees it at
  // the next PublishUsed.
  void Return(DescriptorChain chain, uint32_t written);

  // One used.idx store for all chains returned since the last, and at most one interrupt, if the
  // driver wants it (rule Q5). No-op when there is nothing new.
  void PublishUsed();

  // Whether the driver should notify. Advice to the driver: notifications may come all the same.
  // Enable returns true if buffers came in meanwhile whose notification may not come: Pop again.
  void DisableNotifications();
  bool EnableNotifications();

  bool poisoned() const { return poisoned_.load(std::memory_order_acquire); }
  const QueueLayout& layout() const { return layout_; }
  QueueCounters& counters() { return *counters_; }
  uint16_t next_avail() const { return next_avail_.load(std::memory_order_relaxed); }
  uint16_t next_used() const { return next_used_.load(std::memory_order_relaxed); }

 private:
  // The driver's avail.idx; nothing, and the queue poisoned, when it is further ahead than the
  // queue is long.
  std::optional<uint16_t> LoadAvailIndex();
  bool DriverWantsInterrupt(uint16_t old_index, uint16_t new_index) const;
  void Poison(absl::string_view why);

  const GuestMemory* const memory_;
  const QueueLayout layout_;
  const bool indirect_;
  const bool event_idx_;
  const std::string name_;
  const std::shared_ptr<DriverSignals> signals_;
  const std::shared_ptr<QueueCounters> counters_;

  // Only the using thread writes these; atomic so that a dump may read them.
  std::atomic<uint16_t> next_avail_{0};
  std::atomic<uint16_t> next_used_{0};  // next entry to fill
  uint16_t published_ = 0;              // used.idx as the driver sees it
  std::atomic<bool> poisoned_{false};
};

}  // namespace stasis

#endif  // STASIS_DEVICES_VIRTIO_VIRTQUEUE_H_
