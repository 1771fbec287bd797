#include "devices/virtio/testing/driver_queue.h"

#include <glog/logging.h>

#include <algorithm>
#include <atomic>

#include "devices/virtio/features.h"

namespace stasis {

GuestAddress DriverHeap::Allocate(uint64_t length, uint64_t alignment) {
  const uint64_t start = (next_.value() + alignment - 1) / alignment * alignment;
  CHECK(memory_->Contains(GuestAddress(start), length)) << "test memory exhausted";
  next_ = GuestAddress(start + length);
  return GuestAddress(start);
}

GuestAddress DriverHeap::Put(absl::string_view bytes) {
  const GuestAddress address = Allocate(bytes.size());
  CHECK(memory_->Write(address, bytes.data(), bytes.size()));
  return address;
}

std::string DriverHeap::Get(GuestAddress address, uint64_t length) const {
  std::string bytes(length, '\0');
  CHECK(length == 0 || memory_->Read(address, bytes.data(), length));
  return bytes;
}

DriverQueue::DriverQueue(DriverHeap* heap, uint16_t size, uint64_t features)
    : heap_(heap),
      memory_(heap->memory()),
      event_idx_((features & kVirtioFeatureEventIdx) != 0),
      layout_{.size = size,
              .descriptors = heap->Allocate(uint64_t{16} * size, kDescriptorAlignment),
              .avail = heap->Allocate(6 + uint64_t{2} * size, kAvailAlignment),
              .used = heap->Allocate(6 + uint64_t{8} * size, kUsedAlignment)} {
  for (int i = size - 1; i >= 0; --i) free_.push_back(i);
  // As a driver does: a hostile guest may have used this memory before.
  const std::string zeroes(layout_.used + 6 + uint64_t{8} * size - layout_.descriptors, '\0');
  CHECK(memory_->Write(layout_.descriptors, zeroes.data(), zeroes.size()));
}

uint16_t DriverQueue::TakeFree() {
  CHECK(!free_.empty()) << "the test added more than the queue holds";
  const uint16_t index = free_.back();
  free_.pop_back();
  return index;
}

uint16_t DriverQueue::Add(const std::vector<DriverBuffer>& buffers) {
  std::vector<uint16_t> indices;
  for (size_t i = 0; i < buffers.size(); ++i) indices.push_back(TakeFree());
  for (size_t i = 0; i < buffers.size(); ++i) {
    const bool last = i + 1 == buffers.size();
    SetDescriptor(indices[i],
                  {.address = buffers[i].address.value(),
                   .length = buffers[i].length,
                   .flags = static_cast<uint16_t>((buffers[i].write ? kDescriptorWrite : 0) |
                                                  (last ? 0 : kDescriptorNext)),
                   .next = last ? uint16_t{0} : indices[i + 1]});
  }
  const uint16_t head = indices.front();
  chains_[head] = indices;
  buffers_[head] = buffers;
  PutAvail(head);
  return head;
}

uint16_t DriverQueue::AddIndirect(const std::vector<DriverBuffer>& buffers) {
  const GuestAddress table = heap_->Allocate(16 * buffers.size());
  for (size_t i = 0; i < buffers.size(); ++i) {
    const bool last = i + 1 == buffers.size();
    const Descriptor entry{
        .address = buffers[i].address.value(),
        .length = buffers[i].length,
        .flags = static_cast<uint16_t>((buffers[i].write ? kDescriptorWrite : 0) |
                                       (last ? 0 : kDescriptorNext)),
        .next = static_cast<uint16_t>(last ? 0 : i + 1)};
    CHECK(memory_->Store(table + 16 * i, entry));
  }
  const uint16_t head = TakeFree();
  SetDescriptor(head, {.address = table.value(),
                       .length = static_cast<uint32_t>(16 * buffers.size()),
                       .flags = kDescriptorIndirect});
  chains_[head] = {head};
  buffers_[head] = buffers;
  PutAvail(head);
  return head;
}

uint16_t DriverQueue::AddReadable(absl::string_view bytes) {
  return Add({{.address = heap_->Put(bytes), .length = static_cast<uint32_t>(bytes.size())}});
}

uint16_t DriverQueue::AddWritable(uint32_t length) {
  return Add({{.address = heap_->Allocate(length), .length = length, .write = true}});
}

std::optional<UsedElement> DriverQueue::TakeUsed() {
  if (used_index() == used_seen_) return std::nullopt;
  const UsedElement used = *memory_->Load<UsedElement>(layout_.UsedEntry(used_seen_));
  ++used_seen_;
  for (uint16_t index : chains_[used.head]) free_.push_back(index);
  chains_.erase(used.head);
  return used;
}

std::string DriverQueue::Written(const UsedElement& used) const {
  std::string bytes;
  uint64_t left = used.length;
  for (const DriverBuffer& buffer : buffers_.at(used.head)) {
    if (!buffer.write) continue;
    const uint64_t piece = std::min<uint64_t>(left, buffer.length);
    bytes += heap_->Get(buffer.address, piece);
    left -= piece;
  }
  return bytes;
}

bool DriverQueue::NeedsKick() {
  const uint16_t old_index = kicked_index_;
  kicked_index_ = avail_index_;
  if (!event_idx_) return !device_wants_no_notify();
  return static_cast<uint16_t>(avail_index_ - avail_event() - 1) <
         static_cast<uint16_t>(avail_index_ - old_index);
}

void DriverQueue::SetNoInterrupt(bool no_interrupt) {
  CHECK(memory_->StoreAtomic<uint16_t>(layout_.avail, no_interrupt ? kAvailNoInterrupt : 0));
}

void DriverQueue::SetUsedEvent(uint16_t index) {
  CHECK(memory_->StoreAtomic<uint16_t>(layout_.UsedEvent(), index));
}

bool DriverQueue::device_wants_no_notify() const {
  return (*memory_->LoadAtomic<uint16_t>(layout_.used) & kUsedNoNotify) != 0;
}

uint16_t DriverQueue::avail_event() const {
  return *memory_->LoadAtomic<uint16_t>(layout_.AvailEvent());
}

uint16_t DriverQueue::used_index() const {
  return *memory_->LoadAtomic<uint16_t>(layout_.used + kRingIndexOffset);
}

void DriverQueue::SetDescriptor(uint16_t index, const Descriptor& descriptor) {
  CHECK(memory_->Store(layout_.descriptors + uint64_t{16} * index, descriptor));
}

void DriverQueue::PutAvail(uint16_t head) {
  CHECK(memory_->Store(layout_.AvailEntry(avail_index_), head));
  SetAvailIndex(avail_index_ + 1);
}

void DriverQueue::SetAvailIndex(uint16_t index) {
  avail_index_ = index;
  // Sequentially consistent, so that NeedsKick reads the device's wishes after it (§2.7.13.4).
  CHECK(memory_->StoreAtomic<uint16_t>(layout_.avail + kRingIndexOffset, index,
                                       std::memory_order_seq_cst));
}

}  // namespace stasis
