// The virtio block device as driver and device see it (virtio 1.2 §5.2).
#ifndef STASIS_DEVICES_BLOCK_BLOCK_PROTOCOL_H_
#define STASIS_DEVICES_BLOCK_BLOCK_PROTOCOL_H_

#include <cstddef>
#include <cstdint>

namespace stasis {

constexpr uint32_t kVirtioBlockId = 2;
constexpr uint64_t kSectorSize = 512;  // the unit of all sector numbers, whatever blk_size says

// §5.2.3.
constexpr uint64_t kBlockFeatureSizeMax = uint64_t{1} << 1;
constexpr uint64_t kBlockFeatureSegMax = uint64_t{1} << 2;
constexpr uint64_t kBlockFeatureReadOnly = uint64_t{1} << 5;
constexpr uint64_t kBlockFeatureBlockSize = uint64_t{1} << 6;
constexpr uint64_t kBlockFeatureFlush = uint64_t{1} << 9;
constexpr uint64_t kBlockFeatureTopology = uint64_t{1} << 10;
constexpr uint64_t kBlockFeatureConfigWce = uint64_t{1} << 11;
constexpr uint64_t kBlockFeatureMultiQueue = uint64_t{1} << 12;
constexpr uint64_t kBlockFeatureDiscard = uint64_t{1} << 13;
constexpr uint64_t kBlockFeatureWriteZeroes = uint64_t{1} << 14;

// Mirrors struct virtio_blk_config (§5.2.4) up to the last field that is offered.
struct BlockConfig {
  uint64_t capacity = 0;  // sectors
  uint32_t size_max = 0;
  uint32_t seg_max = 0;
  uint8_t geometry[4] = {};  // not offered
  uint32_t blk_size = 0;
  uint8_t physical_block_exp = 0;
  uint8_t alignment_offset = 0;
  uint16_t min_io_size = 0;  // logical blocks
  uint32_t opt_io_size = 0;  // logical blocks
  uint8_t writeback = 0;     // the one field that a driver may write
  uint8_t unused0 = 0;
  uint16_t num_queues = 0;
  uint32_t max_discard_sectors = 0;
  uint32_t max_discard_seg = 0;
  uint32_t discard_sector_alignment = 0;
  uint32_t max_write_zeroes_sectors = 0;
  uint32_t max_write_zeroes_seg = 0;
  uint8_t write_zeroes_may_unmap = 0;
  uint8_t unused1[3] = {};
};
static_assert(sizeof(BlockConfig) == 64);  // 60 bytes of layout and the padding of the host
static_assert(offsetof(BlockConfig, writeback) == 32);
static_assert(offsetof(BlockConfig, max_discard_sectors) == 36);
static_assert(offsetof(BlockConfig, write_zeroes_may_unmap) == 56);

// Mirrors the head of struct virtio_blk_req (§5.2.6). From the driver: not to be trusted.
struct BlockRequestHeader {
  uint32_t type = 0;
  uint32_t reserved = 0;
  uint64_t sector = 0;
};
static_assert(sizeof(BlockRequestHeader) == 16);

// BlockRequestHeader::type.
constexpr uint32_t kBlockIn = 0;
constexpr uint32_t kBlockOut = 1;
constexpr uint32_t kBlockFlush = 4;
constexpr uint32_t kBlockGetId = 8;
constexpr uint32_t kBlockDiscard = 11;
constexpr uint32_t kBlockWriteZeroes = 13;

// Mirrors struct virtio_blk_discard_write_zeroes (§5.2.6). From the driver: not to be trusted.
struct BlockRange {
  uint64_t sector = 0;
  uint32_t sectors = 0;
  uint32_t flags = 0;
};
static_assert(sizeof(BlockRange) == 16);
constexpr uint32_t kBlockRangeUnmap = 1;  // BlockRange::flags

// The status byte at the end of every request.
constexpr uint8_t kBlockStatusOk = 0;
constexpr uint8_t kBlockStatusIoError = 1;
constexpr uint8_t kBlockStatusUnsupported = 2;

constexpr size_t kBlockIdLength = 20;

// What this device says of itself.
constexpr uint16_t kBlockQueueSize = 256;
constexpr uint32_t kBlockSegMax = kBlockQueueSize - 2;  // header and status take one each
constexpr uint32_t kBlockSizeMax = 1 << 20;
constexpr uint32_t kBlockMaxRanges = 16;             // of a DISCARD or WRITE_ZEROES
constexpr uint32_t kBlockMaxRangeSectors = 1 << 21;  // 1 GiB

}  // namespace stasis

#endif  // STASIS_DEVICES_BLOCK_BLOCK_PROTOCOL_H_
