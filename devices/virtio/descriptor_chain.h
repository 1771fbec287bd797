// DescriptorChain: one buffer that the driver lent to the device, as checked pieces of host memory.
#ifndef STASIS_DEVICES_VIRTIO_DESCRIPTOR_CHAIN_H_
#define STASIS_DEVICES_VIRTIO_DESCRIPTOR_CHAIN_H_

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "vmm/memory/guest_address.h"

namespace stasis {

// A piece of a buffer that lies in one region of guest memory. The bytes belong to the guest, which
// may change them at any time: copy, then check (rule Q6).
struct Segment {
  GuestAddress address;
  uint8_t* host = nullptr;
  uint64_t length = 0;
  bool continued = false;  // of the same descriptor as the segment before it
};

// Move-only, used by one thread. Each chain must go back through Virtqueue::Return, or be given up
// with Abandon when the queue was reset: a chain that is just dropped would leave the driver
// waiting for ever, and is a programming error that ends the process.
class DescriptorChain {
 public:
  DescriptorChain(uint16_t head, std::vector<Segment> readable, std::vector<Segment> writable);
  DescriptorChain(DescriptorChain&& other) noexcept;
  DescriptorChain& operator=(DescriptorChain&& other) noexcept;
  ~DescriptorChain();

  uint16_t head() const { return head_; }
  const std::vector<Segment>& readable() const { return readable_; }
  const std::vector<Segment>& writable() const { return writable_; }
  uint64_t readable_bytes() const { return readable_bytes_; }
  uint64_t writable_bytes() const { return writable_bytes_; }

  // Copies between host memory and the readable or writable bytes from `offset` on; returns how
  // many bytes that were, fewer than `length` at the end of the chain.
  size_t Read(uint64_t offset, void* to, size_t length) const;
  size_t Write(uint64_t offset, const void* from, size_t length) const;

  // At most `max` pieces from `offset` on, for readv and writev straight from guest memory.
  std::vector<iovec> ReadableIov(uint64_t offset, size_t max) const;
  std::vector<iovec> WritableIov(uint64_t offset, size_t max) const;

  // The driver took its buffers back by a reset.
  void Abandon() { held_ = false; }

 private:
  friend class Virtqueue;
  uint16_t Release() {
    held_ = false;
    return head_;
  }

  bool held_ = true;
  uint16_t head_;
  std::vector<Segment> readable_;
  std::vector<Segment> writable_;
  uint64_t readable_bytes_ = 0;
  uint64_t writable_bytes_ = 0;
};

}  // namespace stasis

#endif  // STASIS_DEVICES_VIRTIO_DESCRIPTOR_CHAIN_H_
