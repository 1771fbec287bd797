#include "devices/virtio/virtqueue.h"

#include <utility>

#include "absl/strings/str_format.h"
#include "devices/virtio/descriptor.h"
#include "devices/virtio/features.h"
#include "vmm/base/full_fence.h"

namespace stasis {
namespace {

void Count(std::atomic<uint64_t>& counter) { counter.fetch_add(1, std::memory_order_relaxed); }

// Whether `event` lies in [old_index, new_index), modulo 2^16 (§2.7.10).
bool Crossed(uint16_t event, uint16_t old_index, uint16_t new_index) {
  return static_cast<uint16_t>(new_index - event - 1) <
         static_cast<uint16_t>(new_index - old_index);
}

}  // namespace

Virtqueue::Virtqueue(const GuestMemory* memory, const QueueLayout& layout, uint64_t features,
                     std::string name, std::shared_ptr<DriverSignals> signals,
                     std::shared_ptr<QueueCounters> counters)
    : memory_(memory),
      layout_(layout),
      indirect_((features & kVirtioFeatureIndirectDesc) != 0),
      event_idx_((features & kVirtioFeatureEventIdx) != 0),
      name_(std::move(name)),
      signals_(std::move(signals)),
      counters_(std::move(counters)) {}

std::optional<uint16_t> Virtqueue::LoadAvailIndex() {
  // Acquire: what the driver wrote before it moved the index is seen after this (Q5).
  std::optional<uint16_t> index =
      memory_->LoadAtomic<uint16_t>(layout_.avail + kRingIndexOffset, std::memory_order_acquire);
  if (!index.has_value()) {
    Poison("available ring is not in memory");
    return std::nullopt;
  }
  const uint16_t ahead = *index - next_avail();
  if (ahead > layout_.size) {  // Q2
    Poison(absl::StrFormat("avail.idx %d is %d ahead of %d in a queue of %d", *index, ahead,
                           next_avail(), layout_.size));
    return std::nullopt;
  }
  return index;
}

std::optional<DescriptorChain> Virtqueue::Pop() {
  if (poisoned() || signals_->needs_reset()) return std::nullopt;  // Q2
  std::optional<uint16_t> index = LoadAvailIndex();
  if (!index.has_value() || *index == next_avail()) return std::nullopt;
  std::optional<uint16_t> head = memory_->Load<uint16_t>(layout_.AvailEntry(next_avail()));
  if (!head.has_value()) {
    Poison("available ring is not in memory");
    return std::nullopt;
  }
  absl::StatusOr<DescriptorChain> chain = WalkChain(*memory_, layout_, *head, indirect_);
  if (!chain.ok()) {
    Poison(chain.status().message());
    return std::nullopt;
  }
  next_avail_.store(next_avail() + 1, std::memory_order_relaxed);
  Count(counters_->chains_taken);
  return *std::move(chain);
}

void Virtqueue::Return(DescriptorChain chain, uint32_t written) {
  const UsedElement element{.head = chain.Release(), .length = written};
  // The ring was validated and memory does not move: this cannot fail.
  (void)memory_->Store(layout_.UsedEntry(next_used()), element);
  next_used_.store(next_used() + 1, std::memory_order_relaxed);
  Count(counters_->chains_returned);
}

void Virtqueue::PublishUsed() {
  const uint16_t old_index = published_;
  const uint16_t new_index = next_used();
  if (new_index == old_index) return;
  published_ = new_index;
  // Release: the entries are visible before the index (Q5).
  (void)memory_->StoreAtomic<uint16_t>(layout_.used + kRingIndexOffset, new_index,
                                       std::memory_order_release);
  if (DriverWantsInterrupt(old_index, new_index)) {
    Count(counters_->interrupts);
    signals_->UsedBuffers();
  } else {
    Count(counters_->interrupts_suppressed);
  }
}

bool Virtqueue::DriverWantsInterrupt(uint16_t old_index, uint16_t new_index) const {
  // Full fence: either the driver sees the new index, or its wish for an interrupt is seen here
  // (Q5).
  FullFence();
  if (event_idx_) {
    const uint16_t event = memory_->LoadAtomic<uint16_t>(layout_.UsedEvent()).value_or(old_index);
    return Crossed(event, old_index, new_index);
  }
  const uint16_t flags =
      memory_->LoadAtomic<uint16_t>(layout_.avail + kRingFlagsOffset).value_or(0);
  return (flags & kAvailNoInterrupt) == 0;
}

void Virtqueue::DisableNotifications() {
  // With EVENT_IDX the last avail_event stands behind the driver's index already.
  if (event_idx_) return;
  (void)memory_->StoreAtomic<uint16_t>(layout_.used + kRingFlagsOffset, kUsedNoNotify,
                                       std::memory_order_relaxed);
}

bool Virtqueue::EnableNotifications() {
  if (event_idx_) {
    (void)memory_->StoreAtomic<uint16_t>(layout_.AvailEvent(), next_avail(),
                                         std::memory_order_relaxed);
  } else {
    (void)memory_->StoreAtomic<uint16_t>(layout_.used + kRingFlagsOffset, 0,
                                         std::memory_order_relaxed);
  }
  // Full fence: either the driver sees that it must notify, or its new index is seen here (Q5).
  FullFence();
  if (poisoned() || signals_->needs_reset()) return false;
  std::optional<uint16_t> index = LoadAvailIndex();
  return index.has_value() && *index != next_avail();
}

void Virtqueue::Poison(absl::string_view why) {
  poisoned_.store(true, std::memory_order_release);
  Count(counters_->poisonings);
  signals_->NeedsReset(absl::StrFormat("%s poisoned: %s", name_, why));
}

}  // namespace stasis
