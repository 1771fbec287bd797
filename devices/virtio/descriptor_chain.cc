#include "devices/virtio/descriptor_chain.h"

#include <glog/logging.h>

#include <algorithm>
#include <cstring>
#include <utility>

namespace stasis {
namespace {

uint64_t TotalBytes(const std::vector<Segment>& segments) {
  uint64_t total = 0;
  for (const Segment& segment : segments) total += segment.length;
  return total;
}

// Calls `visit(host, length)` for the pieces of [offset, offset + length) of `segments` until it
// returns false.
template <typename Visit>
void ForEachPiece(const std::vector<Segment>& segments, uint64_t offset, uint64_t length,
                  Visit visit) {
  for (const Segment& segment : segments) {
    if (length == 0) return;
    if (offset >= segment.length) {
      offset -= segment.length;
      continue;
    }
    const uint64_t piece = std::min(segment.length - offset, length);
    if (!visit(segment.host + offset, piece)) return;
    offset = 0;
    length -= piece;
  }
}

std::vector<iovec> Iov(const std::vector<Segment>& segments, uint64_t offset, size_t max) {
  std::vector<iovec> iov;
  ForEachPiece(segments, offset, UINT64_MAX, [&](uint8_t* host, uint64_t length) {
    if (iov.size() == max) return false;
    iov.push_back({.iov_base = host, .iov_len = length});
    return true;
  });
  return iov;
}

}  // namespace

DescriptorChain::DescriptorChain(uint16_t head, std::vector<Segment> readable,
                                 std::vector<Segment> writable)
    : head_(head),
      readable_(std::move(readable)),
      writable_(std::move(writable)),
      readable_bytes_(TotalBytes(readable_)),
      writable_bytes_(TotalBytes(writable_)) {}

DescriptorChain::DescriptorChain(DescriptorChain&& other) noexcept
    : held_(std::exchange(other.held_, false)),
      head_(other.head_),
      readable_(std::move(other.readable_)),
      writable_(std::move(other.writable_)),
      readable_bytes_(std::exchange(other.readable_bytes_, 0)),
      writable_bytes_(std::exchange(other.writable_bytes_, 0)) {}

DescriptorChain& DescriptorChain::operator=(DescriptorChain&& other) noexcept {
  CHECK(!held_) << "descriptor chain " << head_ << " overwritten before it was returned";
  held_ = std::exchange(other.held_, false);
  head_ = other.head_;
  readable_ = std::move(other.readable_);
  writable_ = std::move(other.writable_);
  readable_bytes_ = std::exchange(other.readable_bytes_, 0);
  writable_bytes_ = std::exchange(other.writable_bytes_, 0);
  return *this;
}

DescriptorChain::~DescriptorChain() {
  CHECK(!held_) << "descriptor chain " << head_ << " dropped without being returned";
}

size_t DescriptorChain::Read(uint64_t offset, void* to, size_t length) const {
  uint8_t* out = static_cast<uint8_t*>(to);
  ForEachPiece(readable_, offset, length, [&](const uint8_t* host, uint64_t piece) {
    std::memcpy(out, host, piece);
    out += piece;
    return true;
  });
  return out - static_cast<uint8_t*>(to);
}

size_t DescriptorChain::Write(uint64_t offset, const void* from, size_t length) const {
  const uint8_t* in = static_cast<const uint8_t*>(from);
  ForEachPiece(writable_, offset, length, [&](uint8_t* host, uint64_t piece) {
    std::memcpy(host, in, piece);
    in += piece;
    return true;
  });
  return in - static_cast<const uint8_t*>(from);
}

std::vector<iovec> DescriptorChain::ReadableIov(uint64_t offset, size_t max) const {
  return Iov(readable_, offset, max);
}

std::vector<iovec> DescriptorChain::WritableIov(uint64_t offset, size_t max) const {
  return Iov(writable_, offset, max);
}

}  // namespace stasis
