#include "devices/block/request.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

namespace stasis {
namespace {

constexpr uint64_t kHeader = sizeof(BlockRequestHeader);

// Cuts `iov` down to `bytes`.
void Trim(std::vector<iovec>& iov, uint64_t bytes) {
  size_t used = 0;
  while (used < iov.size() && bytes > 0) {
    iov[used].iov_len = std::min<uint64_t>(iov[used].iov_len, bytes);
    bytes -= iov[used].iov_len;
    ++used;
  }
  iov.resize(used);
}

// Descriptors that hold any of the bytes [begin, end). Pieces that one descriptor was cut into
// count once.
uint32_t CountDescriptors(const std::vector<Segment>& segments, uint64_t begin, uint64_t end) {
  uint32_t count = 0;
  uint64_t at = 0;
  bool counted = false;  // the descriptor that this segment belongs to
  for (const Segment& segment : segments) {
    if (!segment.continued) counted = false;
    const bool inside = segment.length > 0 && at < end && at + segment.length > begin;
    if (inside && !counted) {
      ++count;
      counted = true;
    }
    at += segment.length;
  }
  return count;
}

class Parser {
 public:
  Parser(const DescriptorChain& chain, const BlockLimits& limits)
      : chain_(chain), limits_(limits) {}

  BlockRequest Parse() {
    if (chain_.writable_bytes() == 0) {
      request_.no_status = true;  // Q4
      return Refuse("no room for the status byte");
    }
    BlockRequestHeader header;  // a host copy (Q6)
    if (chain_.Read(0, &header, sizeof(header)) != sizeof(header)) return Refuse("short header");
    request_.type = header.type;
    switch (header.type) {
      case kBlockIn:
        return ReadOrWrite(header.sector, /*write=*/false);
      case kBlockOut:
        return ReadOrWrite(header.sector, /*write=*/true);
      case kBlockFlush:
        request_.io.kind = IoKind::kFlush;
        return Accept();
      case kBlockGetId:
        request_.action = BlockRequest::Action::kGetId;
        return std::move(request_);
      case kBlockDiscard:
        return Ranges(IoKind::kDiscard, kBlockFeatureDiscard);
      case kBlockWriteZeroes:
        return Ranges(IoKind::kWriteZeroes, kBlockFeatureWriteZeroes);
      default:
        return Refuse("unknown type", kBlockStatusUnsupported);  // B3
    }
  }

 private:
  BlockRequest Accept() {
    request_.action = BlockRequest::Action::kIo;
    return std::move(request_);
  }
  BlockRequest Refuse(const char* defect, uint8_t status = kBlockStatusIoError) {
    request_.action = BlockRequest::Action::kRefused;
    request_.defect = defect;
    request_.status = status;
    return std::move(request_);
  }
  bool Inside(uint64_t sector, uint64_t sectors) const {
    return sector <= limits_.capacity_sectors && sectors <= limits_.capacity_sectors - sector;
  }

  BlockRequest ReadOrWrite(uint64_t sector, bool write) {
    const uint64_t begin = write ? kHeader : 0;
    const uint64_t end = write ? chain_.readable_bytes() : chain_.writable_bytes() - 1;
    const uint64_t bytes = end - begin;
    if (write && limits_.read_only) return Refuse("write to a read-only disk");
    if (bytes % kSectorSize != 0) return Refuse("length is not a multiple of 512");
    if (!Inside(sector, bytes / kSectorSize)) return Refuse("beyond the capacity");
    const std::vector<Segment>& segments = write ? chain_.readable() : chain_.writable();
    if (CountDescriptors(segments, begin, end) > kBlockSegMax) {  // Q3
      return Refuse("more segments than seg_max");
    }
    request_.data_bytes = bytes;
    request_.io.kind = write ? IoKind::kWrite : IoKind::kRead;
    request_.io.offset = sector * kSectorSize;
    request_.io.iov = write ? chain_.ReadableIov(begin, segments.size())
                            : chain_.WritableIov(begin, segments.size());
    Trim(request_.io.iov, bytes);
    return Accept();
  }

  BlockRequest Ranges(IoKind kind, uint64_t feature) {
    if (limits_.read_only) return Refuse("discard or zeroes on a read-only disk");
    if ((limits_.features & feature) == 0) {  // B1
      return Refuse("type that was not negotiated", kBlockStatusUnsupported);
    }
    const uint64_t bytes = chain_.readable_bytes() - kHeader;
    if (bytes == 0 || bytes % sizeof(BlockRange) != 0) return Refuse("broken list of ranges");
    if (bytes / sizeof(BlockRange) > kBlockMaxRanges) return Refuse("too many ranges");
    std::vector<BlockRange> ranges(bytes / sizeof(BlockRange));  // host copies (Q6)
    chain_.Read(kHeader, ranges.data(), bytes);
    for (const BlockRange& range : ranges) {
      const uint32_t known = kind == IoKind::kDiscard ? 0 : kBlockRangeUnmap;
      if ((range.flags & ~known) != 0) {  // §5.2.6.2
        return Refuse("range with an unknown flag", kBlockStatusUnsupported);
      }
      if (range.sectors > kBlockMaxRangeSectors) return Refuse("range longer than offered");
      if (!Inside(range.sector, range.sectors)) return Refuse("beyond the capacity");
      if (range.sectors == 0) continue;
      request_.io.ranges.push_back({.offset = range.sector * kSectorSize,
                                    .length = range.sectors * kSectorSize,
                                    .unmap = (range.flags & kBlockRangeUnmap) != 0});
    }
    request_.io.kind = kind;
    return Accept();
  }

  const DescriptorChain& chain_;
  const BlockLimits& limits_;
  BlockRequest request_;
};

}  // namespace

BlockRequest ParseBlockRequest(const DescriptorChain& chain, const BlockLimits& limits) {
  return Parser(chain, limits).Parse();
}

uint32_t FinishBlockRequest(const DescriptorChain& chain, const BlockRequest& request,
                            uint8_t status, const std::string& serial) {
  if (request.no_status) return 0;  // Q4
  const uint64_t room = chain.writable_bytes() - 1;
  uint64_t written = 0;
  if (request.action == BlockRequest::Action::kGetId && status == kBlockStatusOk) {
    char id[kBlockIdLength] = {};
    std::memcpy(id, serial.data(), std::min(serial.size(), sizeof(id)));
    written = chain.Write(0, id, std::min<uint64_t>(room, sizeof(id)));
  } else if (request.type == kBlockIn && status == kBlockStatusOk) {
    written = request.data_bytes;
  }
  return written + chain.Write(room, &status, sizeof(status));
}

}  // namespace stasis
