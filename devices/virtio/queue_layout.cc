#include "devices/virtio/queue_layout.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "devices/virtio/descriptor.h"

namespace stasis {
namespace {

absl::Status ValidateRing(const GuestMemory& memory, const char* what, GuestAddress address,
                          uint64_t length, uint64_t alignment) {
  if (address.value() % alignment != 0) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s at %#x is not aligned to %d bytes", what, address.value(), alignment));
  }
  if (!memory.Contains(address, length)) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%s of %d bytes at %#x is not in guest memory", what, length, address.value()));
  }
  return absl::OkStatus();
}

// Appends [address, address + length), split where memory regions meet (NUMA nodes do). False if
// any byte of it is not RAM.
bool AppendSegments(const GuestMemory& memory, GuestAddress address, uint64_t length,
                    std::vector<Segment>& segments) {
  if (length > 0 && address.value() + (length - 1) < address.value()) return false;
  for (bool continued = false; length > 0; continued = true) {
    auto region =
        std::find_if(memory.regions().begin(), memory.regions().end(),
                     [&](const auto& r) { return address >= r.base && address - r.base < r.size; });
    if (region == memory.regions().end()) return false;
    const uint64_t offset = address - region->base;
    const uint64_t piece = std::min(region->size - offset, length);
    segments.push_back({.address = address,
                        .host = region->host + offset,
                        .length = piece,
                        .continued = continued});
    address = address + piece;
    length -= piece;
  }
  return true;
}

// Collects one chain; every method returns InvalidArgument at the first broken rule.
class Walker {
 public:
  Walker(const GuestMemory& memory, const QueueLayout& layout, uint16_t head)
      : memory_(memory), layout_(layout), head_(head) {}

  absl::StatusOr<DescriptorChain> Walk(bool indirect_negotiated) {
    uint16_t index = head_;
    while (true) {
      if (index >= layout_.size) return Broken(absl::StrFormat("descriptor index %d", index));
      std::optional<Descriptor> descriptor =
          memory_.Load<Descriptor>(layout_.descriptors + uint64_t{16} * index);
      if (!descriptor.has_value()) return Broken("descriptor table is not in memory");
      if ((descriptor->flags & kDescriptorIndirect) != 0) {
        if (!indirect_negotiated) return Broken("INDIRECT was not negotiated");
        if ((descriptor->flags & kDescriptorNext) != 0) return Broken("INDIRECT with NEXT");
        if (absl::Status status = WalkIndirect(*descriptor); !status.ok()) return status;
        break;
      }
      if (absl::Status status = Add(*descriptor); !status.ok()) return status;
      if ((descriptor->flags & kDescriptorNext) == 0) break;
      index = descriptor->next;
    }
    return DescriptorChain(head_, std::move(readable_), std::move(writable_));
  }

 private:
  absl::Status WalkIndirect(const Descriptor& descriptor) {
    if (descriptor.length == 0 || descriptor.length % sizeof(Descriptor) != 0) {
      return Broken(absl::StrFormat("indirect table of %d bytes", descriptor.length));
    }
    const uint32_t count = descriptor.length / sizeof(Descriptor);
    if (count > kMaxQueueSize)
      return Broken(absl::StrFormat("indirect table of %d entries", count));
    const GuestAddress base(descriptor.address);
    if (!memory_.Contains(base, descriptor.length)) {
      return Broken(absl::StrFormat("indirect table at %#x is not in guest memory", base.value()));
    }
    uint32_t index = 0;
    while (true) {
      if (index >= count) return Broken(absl::StrFormat("indirect index %d of %d", index, count));
      std::optional<Descriptor> entry = memory_.Load<Descriptor>(base + uint64_t{16} * index);
      if (!entry.has_value()) return Broken("indirect table is not in memory");
      if ((entry->flags & kDescriptorIndirect) != 0) return Broken("nested indirect table");
      if (absl::Status status = Add(*entry); !status.ok()) return status;
      if ((entry->flags & kDescriptorNext) == 0) return absl::OkStatus();
      index = entry->next;
    }
  }

  absl::Status Add(const Descriptor& descriptor) {
    // A loop shows as a chain longer than the queue.
    if (++descriptors_ > layout_.size) return Broken("chain longer than the queue, or a loop");
    const bool write = (descriptor.flags & kDescriptorWrite) != 0;
    // By the descriptors and not by the segments: one of length 0 has none.
    if (!write && write_seen_) return Broken("device-readable after device-writable");
    write_seen_ |= write;
    bytes_ += descriptor.length;
    if (bytes_ > UINT32_MAX) return Broken("chain of 4 GiB or more");
    if (!AppendSegments(memory_, GuestAddress(descriptor.address), descriptor.length,
                        write ? writable_ : readable_)) {
      return Broken(absl::StrFormat("buffer of %d bytes at %#x is not in guest memory",
                                    descriptor.length, descriptor.address));
    }
    return absl::OkStatus();
  }

  absl::Status Broken(const std::string& why) const {
    return absl::InvalidArgumentError(absl::StrFormat("chain with head %d: %s", head_, why));
  }

  const GuestMemory& memory_;
  const QueueLayout& layout_;
  const uint16_t head_;
  uint32_t descriptors_ = 0;
  uint64_t bytes_ = 0;
  bool write_seen_ = false;
  std::vector<Segment> readable_;
  std::vector<Segment> writable_;
};

}  // namespace

absl::Status ValidateLayout(const GuestMemory& memory, const QueueLayout& layout,
                            uint32_t max_size) {
  if (!std::has_single_bit(layout.size) || layout.size > std::min(max_size, kMaxQueueSize)) {
    return absl::InvalidArgumentError(
        absl::StrFormat("queue size %d is not a power of two up to %d", layout.size, max_size));
  }
  const uint64_t size = layout.size;
  if (absl::Status status = ValidateRing(memory, "descriptor table", layout.descriptors, 16 * size,
                                         kDescriptorAlignment);
      !status.ok()) {
    return status;
  }
  if (absl::Status status =
          ValidateRing(memory, "available ring", layout.avail, 6 + 2 * size, kAvailAlignment);
      !status.ok()) {
    return status;
  }
  return ValidateRing(memory, "used ring", layout.used, 6 + 8 * size, kUsedAlignment);
}

absl::StatusOr<DescriptorChain> WalkChain(const GuestMemory& memory, const QueueLayout& layout,
                                          uint16_t head, bool indirect) {
  return Walker(memory, layout, head).Walk(indirect);
}

}  // namespace stasis
