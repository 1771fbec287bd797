#include "devices/block/io_transfer.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>

#include <algorithm>
#include <cstring>
#include <utility>

namespace stasis {
namespace {

// What a file system without FALLOC_FL_ZERO_RANGE is given instead: the same block again and
// again, at most kZeroVectors times per call. Aligned for O_DIRECT. Never written to.
constexpr uint64_t kZeroBlock = 64 << 10;
constexpr size_t kZeroVectors = 16;
alignas(4096) uint8_t zero_block[kZeroBlock];

}  // namespace

void IoTransfer::Start(IoRequest request) {
  request_ = std::move(request);
  error_ = 0;
  first_iov_ = range_ = 0;
  range_done_ = 0;
  switch (request_.kind) {
    case IoKind::kRead:
    case IoKind::kWrite:
      phase_ = Phase::kVector;
      VectorDone(0);  // skips empty vectors
      return;
    case IoKind::kFlush:
      phase_ = Phase::kSync;
      return;
    case IoKind::kDiscard:
    case IoKind::kWriteZeroes:
      phase_ = Phase::kFallocate;
      if (request_.ranges.empty()) phase_ = Phase::kFinished;
      return;
  }
}

std::optional<IoStep> IoTransfer::Next() {
  switch (phase_) {
    case Phase::kVector:
      return VectorStep();
    case Phase::kFallocate:
      return FallocateStep();
    case Phase::kZeroes:
      return ZeroesStep();
    case Phase::kSync:
      return IoStep{.call = IoStep::Call::kFdatasync};
    case Phase::kFinished:
      return std::nullopt;
  }
  return std::nullopt;
}

IoStep IoTransfer::VectorStep() {
  const bool write = request_.kind == IoKind::kWrite;
  return {
      .call = write ? IoStep::Call::kWritev : IoStep::Call::kReadv,
      .iov = request_.iov.data() + first_iov_,
      .iov_count = static_cast<int>(std::min<size_t>(request_.iov.size() - first_iov_, IOV_MAX)),
      .offset = request_.offset,
      .flags = write && request_.durable ? RWF_DSYNC : 0};
}

IoStep IoTransfer::FallocateStep() {
  const IoRange& range = request_.ranges[range_];
  // A hole reads as zeroes too; without leave to unmap the space stays allocated.
  const bool hole = request_.kind == IoKind::kDiscard || range.unmap;
  return {.call = IoStep::Call::kFallocate,
          .offset = range.offset,
          .length = range.length,
          .flags = FALLOC_FL_KEEP_SIZE | (hole ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE)};
}

IoStep IoTransfer::ZeroesStep() {
  const IoRange& range = request_.ranges[range_];
  uint64_t left = std::min(range.length - range_done_, kZeroBlock * kZeroVectors);
  zeroes_.clear();
  while (left > 0) {
    const uint64_t piece = std::min(left, kZeroBlock);
    zeroes_.push_back({.iov_base = zero_block, .iov_len = piece});
    left -= piece;
  }
  return {.call = IoStep::Call::kWritev,
          .iov = zeroes_.data(),
          .iov_count = static_cast<int>(zeroes_.size()),
          .offset = range.offset + range_done_};
}

void IoTransfer::Done(int64_t result) {
  if (result == -EINTR) return;  // the same call again (rule B6)
  switch (phase_) {
    case Phase::kVector:
      if (result < 0) return Fail(-result);
      if (result == 0 && request_.kind == IoKind::kWrite) return Fail(EIO);  // or it never ends
      if (result == 0) {
        // The file ends inside of the capacity: the rest reads as zeroes (rule B6).
        for (size_t i = first_iov_; i < request_.iov.size(); ++i) {
          std::memset(request_.iov[i].iov_base, 0, request_.iov[i].iov_len);
        }
        phase_ = Phase::kFinished;
        return;
      }
      return VectorDone(result);
    case Phase::kFallocate:
      return FallocateDone(result);
    case Phase::kZeroes:
      if (result <= 0) return Fail(result == 0 ? EIO : -result);
      range_done_ += result;
      if (range_done_ >= request_.ranges[range_].length) NextRange();
      return;
    case Phase::kSync:
      if (result < 0) return Fail(-result);
      phase_ = Phase::kFinished;
      return;
    case Phase::kFinished:
      return;
  }
}

void IoTransfer::VectorDone(uint64_t bytes) {
  request_.offset += bytes;
  while (first_iov_ < request_.iov.size() && bytes >= request_.iov[first_iov_].iov_len) {
    bytes -= request_.iov[first_iov_].iov_len;
    ++first_iov_;
  }
  if (first_iov_ == request_.iov.size()) {
    phase_ = Phase::kFinished;
    return;
  }
  iovec& next = request_.iov[first_iov_];
  next.iov_base = static_cast<uint8_t*>(next.iov_base) + bytes;
  next.iov_len -= bytes;
}

void IoTransfer::FallocateDone(int64_t result) {
  if (result == 0) return NextRange();
  if (result != -EOPNOTSUPP) return Fail(result < 0 ? -result : EIO);
  if (request_.kind == IoKind::kDiscard) return NextRange();  // advice only (§5.2.6.2)
  phase_ = Phase::kZeroes;
}

void IoTransfer::NextRange() {
  range_done_ = 0;
  if (++range_ < request_.ranges.size()) {
    phase_ = Phase::kFallocate;
    return;
  }
  phase_ = request_.durable ? Phase::kSync : Phase::kFinished;
}

void IoTransfer::Fail(int error) {
  error_ = error;
  phase_ = Phase::kFinished;
}

}  // namespace stasis
