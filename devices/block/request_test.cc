#include "devices/block/request.h"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "devices/virtio/features.h"
#include "devices/virtio/queue_layout.h"
#include "devices/virtio/testing/driver_queue.h"

namespace stasis {
namespace {

constexpr uint64_t kCapacity = 1000;  // sectors
constexpr BlockLimits kWritable{.capacity_sectors = kCapacity,
                                .features = kBlockFeatureDiscard | kBlockFeatureWriteZeroes};
constexpr BlockLimits kReadOnly{.capacity_sectors = kCapacity, .read_only = true};

std::string Bytes(const auto& value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof(value));
}

std::string Header(uint32_t type, uint64_t sector) {
  return Bytes(BlockRequestHeader{.type = type, .sector = sector});
}

class RequestTest : public testing::Test {
 protected:
  // `readable` and `writable` are the lengths and contents of the descriptors. The chain is given
  // up at the end of the test.
  DescriptorChain& Chain(const std::vector<std::string>& readable,
                         const std::vector<uint32_t>& writable) {
    std::vector<DriverBuffer> buffers;
    for (const std::string& bytes : readable) {
      buffers.push_back({heap_.Put(bytes), static_cast<uint32_t>(bytes.size()), false});
    }
    for (uint32_t length : writable) buffers.push_back({heap_.Allocate(length), length, true});
    const uint16_t head = queue_.Add(buffers);
    auto chain = WalkChain(*memory_, queue_.layout(), head, false);
    EXPECT_TRUE(chain.ok()) << chain.status();
    chains_.push_back(std::make_unique<DescriptorChain>(*std::move(chain)));
    return *chains_.back();
  }
  BlockRequest Parse(const std::vector<std::string>& readable,
                     const std::vector<uint32_t>& writable, const BlockLimits& limits = kWritable) {
    return ParseBlockRequest(Chain(readable, writable), limits);
  }
  // The status that a refused request carries; -1 if it was not refused.
  int Refused(const std::vector<std::string>& readable, const std::vector<uint32_t>& writable,
              const BlockLimits& limits = kWritable) {
    const BlockRequest request = Parse(readable, writable, limits);
    if (request.action != BlockRequest::Action::kRefused) return -1;
    EXPECT_STRNE(request.defect, "");
    return request.status;
  }
  void TearDown() override {
    for (auto& chain : chains_) chain->Abandon();
  }

  std::unique_ptr<GuestMemory> memory_ =
      *GuestMemory::Create({{.base = GuestAddress(0), .size = 16 << 20}});
  DriverHeap heap_{memory_.get(), GuestAddress(0x1000)};
  DriverQueue queue_{&heap_, 1024};
  std::vector<std::unique_ptr<DescriptorChain>> chains_;
};

TEST_F(RequestTest, B3_AReadPointsIntoGuestMemoryWithoutTheStatusByte) {
  const BlockRequest request = Parse({Header(kBlockIn, 7)}, {512, 513});
  ASSERT_EQ(request.action, BlockRequest::Action::kIo);
  EXPECT_EQ(request.io.kind, IoKind::kRead);
  EXPECT_EQ(request.io.offset, 7u * 512);
  EXPECT_EQ(request.data_bytes, 1024u);
  ASSERT_EQ(request.io.iov.size(), 2u);
  EXPECT_EQ(request.io.iov[0].iov_base, chains_[0]->writable()[0].host);
  EXPECT_EQ(request.io.iov[1].iov_len, 512u);
}

TEST_F(RequestTest, B3_AWriteMayShareItsDescriptorWithTheHeader) {
  const std::string data(1024, 'x');
  const BlockRequest request =
      Parse({Header(kBlockOut, 3) + data.substr(0, 100), data.substr(100)}, {1});
  ASSERT_EQ(request.action, BlockRequest::Action::kIo);
  EXPECT_EQ(request.io.kind, IoKind::kWrite);
  ASSERT_EQ(request.io.iov.size(), 2u);
  EXPECT_EQ(request.io.iov[0].iov_len, 100u);
  EXPECT_EQ(request.data_bytes, 1024u);
}

TEST_F(RequestTest, B3_AHeaderInManyPiecesIsOneHeader) {
  const std::string header = Header(kBlockFlush, 0);
  const BlockRequest request =
      Parse({header.substr(0, 3), header.substr(3, 9), header.substr(12)}, {1});
  EXPECT_EQ(request.action, BlockRequest::Action::kIo);
  EXPECT_EQ(request.io.kind, IoKind::kFlush);
}

TEST_F(RequestTest, B3_OtherTypesAreUnsupported) {
  for (uint32_t type : {2u, 3u, 5u, 9u, 10u, 12u, 14u, 0x80000000u, 0xffffffffu}) {
    EXPECT_EQ(Refused({Header(type, 0)}, {512, 1}), kBlockStatusUnsupported) << type;
  }
}

TEST_F(RequestTest, B1_TypesThatWereNotNegotiatedAreUnsupported) {
  const std::string range = Bytes(BlockRange{.sector = 0, .sectors = 1});
  const BlockLimits none{.capacity_sectors = kCapacity};
  EXPECT_EQ(Refused({Header(kBlockDiscard, 0), range}, {1}, none), kBlockStatusUnsupported);
  EXPECT_EQ(Refused({Header(kBlockWriteZeroes, 0), range}, {1}, none), kBlockStatusUnsupported);
}

TEST_F(RequestTest, B4_WhatEndsAtTheCapacityIsFineAndOneSectorMoreIsNot) {
  EXPECT_EQ(Refused({Header(kBlockIn, kCapacity - 1)}, {512, 1}), -1);
  EXPECT_EQ(Refused({Header(kBlockIn, kCapacity - 1)}, {1024, 1}), kBlockStatusIoError);
  EXPECT_EQ(Refused({Header(kBlockIn, kCapacity)}, {512, 1}), kBlockStatusIoError);
  for (uint64_t sector : {UINT64_MAX, UINT64_MAX / 512, UINT64_MAX / 512 + 1, uint64_t{1} << 55}) {
    EXPECT_EQ(Refused({Header(kBlockIn, sector)}, {512, 1}), kBlockStatusIoError) << sector;
    EXPECT_EQ(Refused({Header(kBlockOut, sector), std::string(512, 'x')}, {1}),
              kBlockStatusIoError);
  }
}

TEST_F(RequestTest, B4_LengthsThatAreNotSectorsAreIoErrors) {
  EXPECT_EQ(Refused({Header(kBlockIn, 0)}, {511, 1}), kBlockStatusIoError);
  EXPECT_EQ(Refused({Header(kBlockIn, 0)}, {512}), kBlockStatusIoError);  // the status is in it
  EXPECT_EQ(Refused({Header(kBlockOut, 0), std::string(513, 'x')}, {1}), kBlockStatusIoError);
}

TEST_F(RequestTest, B4_AShortHeaderIsAnIoError) {
  EXPECT_EQ(Refused({Header(kBlockIn, 0).substr(1)}, {512, 1}), kBlockStatusIoError);
  EXPECT_EQ(Refused({}, {512, 1}), kBlockStatusIoError);
}

TEST_F(RequestTest, B4_WritesToAReadOnlyDiskAreIoErrorsAndFlushesAreFine) {
  const std::string range = Bytes(BlockRange{.sector = 0, .sectors = 1});
  EXPECT_EQ(Refused({Header(kBlockOut, 0), std::string(512, 'x')}, {1}, kReadOnly),
            kBlockStatusIoError);
  EXPECT_EQ(Refused({Header(kBlockDiscard, 0), range}, {1}, kReadOnly), kBlockStatusIoError);
  EXPECT_EQ(Refused({Header(kBlockWriteZeroes, 0), range}, {1}, kReadOnly), kBlockStatusIoError);
  EXPECT_EQ(Refused({Header(kBlockFlush, 0)}, {1}, kReadOnly), -1);
  EXPECT_EQ(Refused({Header(kBlockIn, 0)}, {512, 1}, kReadOnly), -1);
}

TEST_F(RequestTest, Q3_MoreSegmentsThanSegMaxIsAnIoError) {
  std::vector<uint32_t> writable(kBlockSegMax, 512);
  writable.push_back(1);
  EXPECT_EQ(Refused({Header(kBlockIn, 0)}, writable), -1);
  writable.insert(writable.begin(), 512);
  EXPECT_EQ(Refused({Header(kBlockIn, 0)}, writable), kBlockStatusIoError);
}

TEST_F(RequestTest, Q4_WithoutAStatusByteNothingIsDoneAndLengthIsZero) {
  const BlockRequest request = Parse({Header(kBlockOut, 0), std::string(512, 'x')}, {});
  EXPECT_EQ(request.action, BlockRequest::Action::kRefused);
  EXPECT_TRUE(request.no_status);
  EXPECT_EQ(FinishBlockRequest(*chains_[0], request, kBlockStatusIoError, ""), 0u);
}

TEST_F(RequestTest, RangesAreJudgedOneByOne) {
  auto refused = [&](uint32_t type, const BlockRange& range) {
    return Refused({Header(type, 0), Bytes(BlockRange{.sector = 0, .sectors = 8}) + Bytes(range)},
                   {1});
  };
  EXPECT_EQ(refused(kBlockDiscard, {.sector = kCapacity - 8, .sectors = 8}), -1);
  EXPECT_EQ(refused(kBlockDiscard, {.sector = kCapacity - 8, .sectors = 9}), kBlockStatusIoError);
  EXPECT_EQ(refused(kBlockDiscard, {.sector = UINT64_MAX, .sectors = 2}), kBlockStatusIoError);
  EXPECT_EQ(refused(kBlockDiscard, {.sectors = 8, .flags = kBlockRangeUnmap}),
            kBlockStatusUnsupported);
  EXPECT_EQ(refused(kBlockWriteZeroes, {.sectors = 8, .flags = kBlockRangeUnmap}), -1);
  EXPECT_EQ(refused(kBlockWriteZeroes, {.sectors = 8, .flags = 2}), kBlockStatusUnsupported);
  const BlockLimits huge{.capacity_sectors = uint64_t{1} << 40, .features = kWritable.features};
  const std::string range = Bytes(BlockRange{.sectors = kBlockMaxRangeSectors + 1});
  EXPECT_EQ(Refused({Header(kBlockDiscard, 0), range}, {1}, huge), kBlockStatusIoError);
}

TEST_F(RequestTest, BrokenListsOfRangesAreIoErrors) {
  const std::string one = Bytes(BlockRange{.sectors = 1});
  EXPECT_EQ(Refused({Header(kBlockDiscard, 0)}, {1}), kBlockStatusIoError);
  EXPECT_EQ(Refused({Header(kBlockDiscard, 0), one.substr(1)}, {1}), kBlockStatusIoError);
  std::string many;
  for (uint32_t i = 0; i < kBlockMaxRanges; ++i) many += one;
  EXPECT_EQ(Refused({Header(kBlockDiscard, 0), many}, {1}), -1);
  EXPECT_EQ(Refused({Header(kBlockDiscard, 0), many + one}, {1}), kBlockStatusIoError);
}

TEST_F(RequestTest, AnEmptyRangeNeedsNoCall) {
  const BlockRequest request =
      Parse({Header(kBlockDiscard, 0) + Bytes(BlockRange{.sector = 5, .sectors = 0})}, {1});
  EXPECT_EQ(request.action, BlockRequest::Action::kIo);
  EXPECT_TRUE(request.io.ranges.empty());
}

TEST_F(RequestTest, B3_GetIdIsTwentyBytesZeroPadded) {
  const BlockRequest request = Parse({Header(kBlockGetId, 0)}, {20, 1});
  ASSERT_EQ(request.action, BlockRequest::Action::kGetId);
  EXPECT_EQ(FinishBlockRequest(*chains_[0], request, kBlockStatusOk, "serial"), 21u);
  const std::string got(reinterpret_cast<const char*>(chains_[0]->writable()[0].host), 20);
  EXPECT_EQ(got, "serial" + std::string(14, '\0'));
  const BlockRequest small = Parse({Header(kBlockGetId, 0)}, {5});  // 4 and the status
  EXPECT_EQ(FinishBlockRequest(*chains_[1], small, kBlockStatusOk, "serial"), 5u);
  EXPECT_EQ(std::memcmp(chains_[1]->writable()[0].host, "seri\0", 5), 0);
}

TEST(RequestRegionsTest, Q3_ADescriptorAcrossMemoryRegionsIsOneSegment) {
  // Two regions that touch, as NUMA nodes do; every descriptor of the full seg_max but one crosses
  // nothing, and one crosses from the first to the second.
  auto memory = *GuestMemory::Create({{.base = GuestAddress(0), .size = 4 << 20},
                                      {.base = GuestAddress(4 << 20), .size = 4 << 20}});
  DriverHeap heap(memory.get(), GuestAddress(0x1000));
  DriverQueue queue(&heap, 256);
  std::vector<DriverBuffer> buffers = {{heap.Put(Header(kBlockIn, 0)), 16, false}};
  for (uint32_t i = 0; i + 1 < kBlockSegMax; ++i) {
    buffers.push_back({heap.Allocate(512), 512, true});
  }
  buffers.push_back({GuestAddress((4 << 20) - 256), 512, true});
  buffers.push_back({heap.Allocate(1), 1, true});
  auto chain = *WalkChain(*memory, queue.layout(), queue.Add(buffers), false);
  ASSERT_EQ(chain.writable().size(), kBlockSegMax + 2);
  EXPECT_EQ(ParseBlockRequest(chain, kWritable).action, BlockRequest::Action::kIo);
  chain.Abandon();
}

}  // namespace
}  // namespace stasis
