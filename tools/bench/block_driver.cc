#include "tools/bench/block_driver.h"

#include <glog/logging.h>

#include "devices/block/block_protocol.h"
#include "devices/virtio/descriptor.h"
#include "vmm/base/full_fence.h"

namespace stasis::bench {
namespace {

constexpr uint64_t kBuffers =
    0x100000;  // of a slot: header, status, indirect table; data in the next page
constexpr uint64_t kSlot = 0x2000;

}  // namespace

LeanDriver::LeanDriver(const GuestMemory* memory, uint16_t depth) : memory_(memory), depth_(depth) {
  CHECK_LE(depth, kSize);
  for (uint16_t slot = 0; slot < depth; ++slot) {
    const uint64_t at = kBuffers + slot * kSlot;
    const BlockRequestHeader header{.type = kBlockIn, .sector = slot * uint64_t{8}};
    CHECK(memory->Store(GuestAddress(at), header));
    const uint64_t table = at + 64;
    const Descriptor chain[] = {
        {.address = at, .length = sizeof(header), .flags = kDescriptorNext, .next = 1},
        {.address = at + 0x1000,
         .length = 4096,
         .flags = kDescriptorWrite | kDescriptorNext,
         .next = 2},
        {.address = at + sizeof(header), .length = 1, .flags = kDescriptorWrite}};
    for (int i = 0; i < 3; ++i) {
      CHECK(memory->Store(GuestAddress(table) + uint64_t{16} * i, chain[i]));
    }
    const Descriptor indirect{
        .address = table, .length = sizeof(chain), .flags = kDescriptorIndirect};
    CHECK(memory->Store(GuestAddress(kDescriptors) + uint64_t{16} * slot, indirect));
  }
  for (uint16_t slot = 0; slot < depth; ++slot) free_.push_back(slot);
}

bool LeanDriver::Refill() {
  if (free_.empty()) return false;
  const uint16_t before = avail_;
  for (uint16_t head : free_) {
    const GuestAddress entry =
        GuestAddress(kAvail + kRingEntriesOffset) + uint64_t{2} * (avail_++ % kSize);
    CHECK(memory_->Store(entry, head));
  }
  free_.clear();
  CHECK(memory_->StoreAtomic<uint16_t>(GuestAddress(kAvail + kRingIndexOffset), avail_,
                                       std::memory_order_release));
  FullFence();
  const uint16_t event =
      *memory_->LoadAtomic<uint16_t>(GuestAddress(kUsed + kRingEntriesOffset + 8 * kSize));
  return static_cast<uint16_t>(avail_ - event - 1) < static_cast<uint16_t>(avail_ - before);
}

uint16_t LeanDriver::Reap() {
  const uint16_t now = *memory_->LoadAtomic<uint16_t>(GuestAddress(kUsed + kRingIndexOffset),
                                                      std::memory_order_acquire);
  const uint16_t count = now - used_;
  for (; used_ != now; ++used_) {
    const GuestAddress entry =
        GuestAddress(kUsed + kRingEntriesOffset) + sizeof(UsedElement) * (used_ % kSize);
    free_.push_back(static_cast<uint16_t>(memory_->Load<UsedElement>(entry)->head));
  }
  // An interrupt after the next request, as a driver asks for when it goes to sleep.
  CHECK(memory_->StoreAtomic<uint16_t>(GuestAddress(kAvail + kRingEntriesOffset + 2 * kSize), now));
  return count;
}

}  // namespace stasis::bench
