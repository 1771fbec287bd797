// What a disk does with requests, on both engines (rules B, Q3, Q4).
#include "devices/block/virtio_block.h"

#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "devices/block/testing/block_driver.h"
#include "devices/block/testing/scripted_faults.h"

namespace stasis {
namespace {

// Compares contents without printing them.
#define EXPECT_BYTES(got, wanted) EXPECT_TRUE((got) == (wanted))

constexpr uint64_t kDiskBytes = 8 << 20;
constexpr uint64_t kSectors = kDiskBytes / 512;
constexpr uint64_t kNoWce = BlockDriver::kAll & ~kBlockFeatureConfigWce;

std::string Pattern(size_t length, unsigned seed = 1) {
  std::string bytes(length, '\0');
  for (size_t i = 0; i < length; ++i) bytes[i] = static_cast<char>((i + seed) * 131 + i / 511);
  return bytes;
}

class VirtioBlockTest : public testing::TestWithParam<EngineKind> {
 protected:
  void SetUp() override {
    file_ = *BackingFile::CreateScratch(kDiskBytes);
    options_.engine = GetParam();
    options_.faults = faults_;
  }
  BlockDriver& Driver() {
    if (driver_ == nullptr) {
      driver_ = std::make_unique<BlockDriver>(options_, file_);
      if (driver_->device().engine() != GetParam()) unavailable_ = true;
    }
    return *driver_;
  }
  std::string FileBytes(uint64_t offset, uint64_t length) {
    std::string bytes(length, '\0');
    EXPECT_EQ(pread(file_->fd(), bytes.data(), length, offset), static_cast<ssize_t>(length));
    return bytes;
  }
  uint64_t Publishes() {
    const QueueCounters& counters = driver_->transport().queue_counters(0);
    return counters.interrupts + counters.interrupts_suppressed;
  }
  void TearDown() override {
    if (unavailable_) GTEST_SKIP() << "no io_uring on this host: the synchronous engine ran";
  }

  std::shared_ptr<BackingFile> file_;
  std::shared_ptr<ScriptedFaults> faults_ = std::make_shared<ScriptedFaults>();
  VirtioBlock::Options options_;
  std::unique_ptr<BlockDriver> driver_;
  bool unavailable_ = false;
};

INSTANTIATE_TEST_SUITE_P(Engines, VirtioBlockTest,
                         testing::Values(EngineKind::kSync, EngineKind::kUring),
                         [](const auto& engine) {
                           return engine.param == EngineKind::kSync ? "Sync" : "Uring";
                         });

class UringBlockTest : public VirtioBlockTest {};
INSTANTIATE_TEST_SUITE_P(Engine, UringBlockTest, testing::Values(EngineKind::kUring));

TEST_P(VirtioBlockTest, B1_OffersItsFeatures) {
  EXPECT_EQ(Driver().mmio().device_features(),
            kVirtioFeatureVersion1 | kVirtioFeatureEventIdx | kVirtioFeatureIndirectDesc |
                kBlockFeatureSizeMax | kBlockFeatureSegMax | kBlockFeatureBlockSize |
                kBlockFeatureFlush | kBlockFeatureMultiQueue | kBlockFeatureDiscard |
                kBlockFeatureWriteZeroes | kBlockFeatureTopology | kBlockFeatureConfigWce);
}

TEST_P(VirtioBlockTest, B1_AReadOnlyDiskSaysSoAndOffersNoDiscard) {
  const std::string path = testing::TempDir() + "/read_only_features";
  ASSERT_EQ(truncate((close(open(path.c_str(), O_CREAT | O_RDWR, 0600)), path.c_str()), 4096), 0);
  file_ = *BackingFile::Open(path, {.read_only = true});
  const uint64_t features = Driver().mmio().device_features();
  EXPECT_NE(features & kBlockFeatureReadOnly, 0u);
  EXPECT_EQ(features & (kBlockFeatureDiscard | kBlockFeatureWriteZeroes), 0u);
}

TEST_P(VirtioBlockTest, B2_ConfigSpaceHasTheFieldsOfTheOfferedFeaturesAndZeroElsewhere) {
  options_.queues = 3;
  BlockConfig config;
  uint8_t bytes[0x100];
  Driver().transport().Read(mmio::kConfig, absl::MakeSpan(bytes));
  std::memcpy(&config, bytes, sizeof(config));
  EXPECT_EQ(config.capacity, kSectors);
  EXPECT_EQ(config.size_max, kBlockSizeMax);
  EXPECT_EQ(config.seg_max, kBlockSegMax);
  EXPECT_EQ(std::string(config.geometry, config.geometry + 4), std::string(4, '\0'));
  EXPECT_EQ(config.blk_size, 512u);
  EXPECT_EQ(512u << config.physical_block_exp, file_->physical_block());
  EXPECT_EQ(config.min_io_size * 512u, file_->physical_block());
  EXPECT_EQ(config.writeback, 1);
  EXPECT_EQ(config.num_queues, 3);
  EXPECT_GT(config.max_discard_sectors, 0u);
  EXPECT_EQ(config.max_discard_seg, kBlockMaxRanges);
  EXPECT_EQ(config.discard_sector_alignment * 512u, file_->physical_block());
  EXPECT_EQ(config.max_write_zeroes_sectors, kBlockMaxRangeSectors);
  EXPECT_EQ(config.max_write_zeroes_seg, kBlockMaxRanges);
  EXPECT_EQ(config.write_zeroes_may_unmap, 1);
  EXPECT_EQ(std::string(bytes + 57, bytes + sizeof(bytes)), std::string(sizeof(bytes) - 57, '\0'));
}

TEST_P(VirtioBlockTest, B3_B6_WhatWasWrittenIsReadAgain) {
  Driver().Bind();
  const std::string data = Pattern(64 << 10);
  const BlockReply written = Driver().Write(100, data);
  EXPECT_EQ(written.status, kBlockStatusOk);
  EXPECT_EQ(written.used_length, 1u);
  EXPECT_BYTES(FileBytes(100 * 512, data.size()), data);
  const BlockReply read = Driver().Read(100, data.size() / 512);
  EXPECT_EQ(read.status, kBlockStatusOk);
  EXPECT_EQ(read.used_length, data.size() + 1);
  EXPECT_BYTES(read.data, data);
  EXPECT_EQ(Driver().counters().reads, 1u);
  EXPECT_EQ(Driver().counters().writes, 1u);
  EXPECT_EQ(Driver().counters().bytes_read, data.size());
  EXPECT_EQ(Driver().counters().bytes_written, data.size());
}

TEST_P(VirtioBlockTest, B6_ManyPiecesAndIndirectTablesArriveInOrder) {
  Driver().Bind();
  const std::string data = Pattern(100 * 512);
  std::vector<std::string> pieces = {BlockHeader(kBlockOut, 8)};
  for (int i = 0; i < 100; ++i) pieces.push_back(data.substr(i * 512, 512));
  const uint16_t write = Driver().Add(pieces, {1}, 0, /*indirect=*/true);
  Driver().Notify();
  EXPECT_EQ(Driver().WaitFor(write)->status, kBlockStatusOk);
  std::vector<uint32_t> lengths(200, 256);
  lengths.push_back(1);
  const uint16_t read = Driver().Add({BlockHeader(kBlockIn, 8)}, lengths, 0, /*indirect=*/true);
  Driver().Notify();
  EXPECT_BYTES(Driver().WaitFor(read)->data, data);
}

TEST_P(VirtioBlockTest, B3_FlushGetIdAndUnknownTypes) {
  options_.serial = "disk-7";
  Driver().Bind();
  EXPECT_EQ(Driver().Flush().status, kBlockStatusOk);
  EXPECT_EQ(faults_->TakeRecord().at(0).call, IoStep::Call::kFdatasync);
  const BlockReply id = Driver().Do({BlockHeader(kBlockGetId, 0)}, {20, 1});
  EXPECT_EQ(id.status, kBlockStatusOk);
  EXPECT_EQ(id.used_length, 21u);
  EXPECT_EQ(id.data, "disk-7" + std::string(14, '\0'));
  EXPECT_EQ(Driver().Do({BlockHeader(77, 0)}, {1}).status, kBlockStatusUnsupported);
  EXPECT_EQ(Driver().counters().flushes, 1u);
  EXPECT_EQ(Driver().counters().get_ids, 1u);
  EXPECT_EQ(Driver().counters().invalid_requests, 1u);
}

TEST_P(VirtioBlockTest, B3_DiscardAndWriteZeroesReadAsZeroes) {
  Driver().Bind();
  ASSERT_EQ(Driver().Write(0, Pattern(64 << 10)).status, kBlockStatusOk);
  EXPECT_EQ(Driver().Do({BlockHeader(kBlockDiscard, 0), BlockRangeBytes(8, 16)}, {1}).status,
            kBlockStatusOk);
  EXPECT_BYTES(FileBytes(8 * 512, 16 * 512), std::string(16 * 512, '\0'));
  const std::string two = BlockRangeBytes(40, 3) + BlockRangeBytes(50, 2, kBlockRangeUnmap);
  EXPECT_EQ(Driver().Do({BlockHeader(kBlockWriteZeroes, 0), two}, {1}).status, kBlockStatusOk);
  std::string expected = Pattern(64 << 10);
  expected.replace(8 * 512, 16 * 512, 16 * 512, '\0');
  expected.replace(40 * 512, 3 * 512, 3 * 512, '\0');
  expected.replace(50 * 512, 2 * 512, 2 * 512, '\0');
  EXPECT_BYTES(FileBytes(0, expected.size()), expected);
  EXPECT_EQ(Driver().counters().discards, 1u);
  EXPECT_EQ(Driver().counters().write_zeroes, 1u);
}

TEST_P(VirtioBlockTest, B4_InvalidRequestsAreAnsweredAndLeaveTheFileAlone) {
  Driver().Bind();
  const std::string before = FileBytes(0, kDiskBytes);
  EXPECT_EQ(Driver().Write(kSectors, Pattern(512)).status, kBlockStatusIoError);
  EXPECT_EQ(Driver().Write(kSectors - 1, Pattern(1024)).status, kBlockStatusIoError);
  EXPECT_EQ(Driver().Write(0, Pattern(511)).status, kBlockStatusIoError);
  const BlockReply read = Driver().Read(kSectors, 1);
  EXPECT_EQ(read.status, kBlockStatusIoError);
  EXPECT_EQ(read.used_length, 1u);
  EXPECT_EQ(Driver().Do({"short"}, {512, 1}).status, kBlockStatusIoError);
  EXPECT_EQ(Driver().counters().invalid_requests, 5u);
  EXPECT_EQ(Driver().counters().io_errors, 0u);
  EXPECT_TRUE(faults_->TakeRecord().empty());
  EXPECT_BYTES(FileBytes(0, kDiskBytes), before);
  EXPECT_EQ(Driver().mmio().status(), 0xfu);
}

TEST_P(VirtioBlockTest, B4_AReadOnlyDiskRefusesWritesAndFlushes) {
  const std::string path = testing::TempDir() + "/read_only";
  const int fd = open(path.c_str(), O_CREAT | O_RDWR | O_TRUNC, 0600);
  ASSERT_EQ(write(fd, Pattern(4096).data(), 4096), 4096);
  close(fd);
  file_ = *BackingFile::Open(path, {.read_only = true});
  Driver().Bind();
  EXPECT_EQ(Driver().Write(0, Pattern(512, 9)).status, kBlockStatusIoError);
  EXPECT_EQ(Driver().Flush().status, kBlockStatusOk);
  EXPECT_BYTES(Driver().Read(0, 8).data, Pattern(4096));
  EXPECT_BYTES(FileBytes(0, 4096), Pattern(4096));
}

TEST_P(VirtioBlockTest, Q4_AChainWithoutAWritableByteComesBackEmpty) {
  Driver().Bind();
  const BlockReply reply = Driver().Do({BlockHeader(kBlockOut, 0), Pattern(512)}, {});
  EXPECT_EQ(reply.status, -1);
  EXPECT_EQ(reply.used_length, 0u);
  EXPECT_EQ(Driver().counters().invalid_requests, 1u);
  EXPECT_BYTES(FileBytes(0, 512), std::string(512, '\0'));
}

TEST_P(VirtioBlockTest, Q3_TooManySegmentsAreAnsweredWithAnError) {
  Driver().Bind();
  std::vector<uint32_t> lengths(kBlockSegMax, 512);
  lengths.push_back(513);  // one more segment; the status byte is in it
  const uint16_t head = Driver().Add({BlockHeader(kBlockIn, 0)}, lengths, 0, /*indirect=*/true);
  Driver().Notify();
  EXPECT_EQ(Driver().WaitFor(head)->status, kBlockStatusIoError);
}

TEST_P(VirtioBlockTest, B6_ShortTransfersAndEintrAreContinued) {
  Driver().Bind();
  ASSERT_EQ(Driver().Write(0, Pattern(8192)).status, kBlockStatusOk);
  faults_->Script({-EINTR, -EINTR, std::nullopt});
  EXPECT_BYTES(Driver().Read(0, 16).data, Pattern(8192));
  // The first call pretends that it read 100 bytes, and did not.
  faults_->Script({100, std::nullopt});
  const BlockReply reply = Driver().Read(0, 16);
  EXPECT_EQ(reply.status, kBlockStatusOk);
  EXPECT_BYTES(reply.data.substr(100), Pattern(8192).substr(100));
  EXPECT_EQ(reply.used_length, 8193u);
}

// io_uring gives such a result when it can make no thread, as under a storm of freezes.
TEST_P(UringBlockTest, B6_ACallThatTheKernelCancelledByItselfIsMadeAgain) {
  Driver().Bind();
  faults_->Script({-ECANCELED, std::nullopt, -ECANCELED, -ECANCELED});
  EXPECT_EQ(Driver().Write(0, Pattern(8192)).status, kBlockStatusOk);
  EXPECT_EQ(Driver().Flush().status, kBlockStatusOk);
  EXPECT_BYTES(Driver().Read(0, 16).data, Pattern(8192));
  EXPECT_EQ(Driver().counters().io_errors, 0u);
}

TEST_P(VirtioBlockTest, B6_TheEndOfTheFileInsideTheCapacityReadsAsZeroes) {
  Driver().Bind();
  ASSERT_EQ(Driver().Write(0, Pattern(4096)).status, kBlockStatusOk);
  ASSERT_EQ(ftruncate(file_->fd(), 1000), 0);
  const BlockReply reply = Driver().Read(0, 8);
  EXPECT_EQ(reply.status, kBlockStatusOk);
  EXPECT_EQ(reply.used_length, 4097u);
  EXPECT_BYTES(reply.data, Pattern(4096).substr(0, 1000) + std::string(3096, '\0'));
}

TEST_P(VirtioBlockTest, AnErrorOfTheFileIsAnIoErrorForTheGuestAndTheDiskGoesOn) {
  Driver().Bind();
  faults_->Script({-EIO, -ENOSPC, -EIO});
  EXPECT_EQ(Driver().Read(0, 1).status, kBlockStatusIoError);
  EXPECT_EQ(Driver().Write(0, Pattern(512)).status, kBlockStatusIoError);
  EXPECT_EQ(Driver().Flush().status, kBlockStatusIoError);
  EXPECT_EQ(Driver().Write(0, Pattern(512)).status, kBlockStatusOk);
  EXPECT_EQ(Driver().counters().io_errors, 3u);
  EXPECT_EQ(Driver().counters().writes, 1u);
  EXPECT_EQ(Driver().mmio().status(), 0xfu);
}

TEST_P(VirtioBlockTest, B7_WriteBackIsOnlyForDriversThatChoseConfigWceAndFlush) {
  auto flags_of_a_write = [&](uint64_t features) {
    Driver().Bind(features);
    EXPECT_EQ(Driver().Write(0, Pattern(512)).status, kBlockStatusOk);
    return faults_->TakeRecord().at(0).flags;
  };
  EXPECT_EQ(flags_of_a_write(BlockDriver::kAll), 0);
  EXPECT_EQ(flags_of_a_write(kNoWce), RWF_DSYNC);
  EXPECT_EQ(flags_of_a_write(BlockDriver::kAll & ~kBlockFeatureFlush), RWF_DSYNC);
  EXPECT_EQ(flags_of_a_write(BlockDriver::kAll), 0);
}

TEST_P(VirtioBlockTest, B7_TheDriverSwitchesTheCacheModeThroughConfigSpace) {
  const uint64_t writeback = mmio::kConfig + offsetof(BlockConfig, writeback);
  auto write_config = [&](uint8_t value) {
    Driver().transport().Write(writeback, absl::MakeConstSpan(&value, 1));
  };
  auto read_config = [&] {
    uint8_t value = 9;
    Driver().transport().Read(writeback, absl::MakeSpan(&value, 1));
    return value;
  };
  Driver().Bind();
  EXPECT_EQ(read_config(), 1);
  const uint32_t generation = Driver().mmio().Read(mmio::kConfigGeneration);
  write_config(0);
  EXPECT_EQ(read_config(), 0);
  EXPECT_NE(Driver().mmio().Read(mmio::kConfigGeneration), generation);  // T9
  EXPECT_EQ(Driver().Write(0, Pattern(512)).status, kBlockStatusOk);
  EXPECT_EQ(faults_->TakeRecord().at(0).flags, RWF_DSYNC);
  write_config(2);  // no such mode
  EXPECT_EQ(read_config(), 0);
  write_config(1);
  EXPECT_EQ(Driver().Write(0, Pattern(512)).status, kBlockStatusOk);
  EXPECT_EQ(faults_->TakeRecord().at(0).flags, 0);
  Driver().Prepare(kNoWce);  // §5.2.5.2: readable before DRIVER_OK
  EXPECT_EQ(read_config(), 0);
  write_config(1);
  EXPECT_EQ(read_config(), 0);
}

TEST_P(VirtioBlockTest, B8_CompletionsOfABatchAreShownTogether) {
  // No call reaches the file, so all of a batch is finished when it has been submitted.
  faults_->Script(std::deque<std::optional<int64_t>>(32, 512));
  Driver().Prepare(BlockDriver::kAll & ~kVirtioFeatureEventIdx);
  std::vector<uint16_t> heads;
  for (int i = 0; i < 32; ++i) heads.push_back(Driver().Add({BlockHeader(kBlockIn, i)}, {512, 1}));
  ASSERT_TRUE(Driver().mmio().DriverOk());
  for (uint16_t head : heads) EXPECT_EQ(Driver().WaitFor(head)->status, kBlockStatusOk);
  const uint64_t batches = Driver().device().engine() == EngineKind::kSync ? 4 : 1;
  EXPECT_TRUE(Eventually([&] { return Publishes() == batches; })) << Publishes();
  EXPECT_TRUE(Eventually([&] { return Driver().line().edges() == static_cast<int>(batches); }));
}

TEST_P(VirtioBlockTest, B5_BadRequestsSpendNoTokens) {
  options_.limits = {.ops_per_second = 1};
  Driver().Bind();
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(Driver().Read(kSectors, 1).status, kBlockStatusIoError);
    EXPECT_EQ(Driver().Do({BlockHeader(99, 0)}, {1}).status, kBlockStatusUnsupported);
  }
  EXPECT_EQ(Driver().Read(0, 1).status, kBlockStatusOk);
  EXPECT_EQ(Driver().counters().throttle_events, 0u);
}

TEST_P(VirtioBlockTest, B9_AThrottledGuestSeesDelayAndNoError) {
  options_.limits = {.ops_per_second = 200, .ops_burst = 1};
  Driver().Bind();
  std::vector<uint16_t> heads;
  for (int i = 0; i < 20; ++i) heads.push_back(Driver().Add({BlockHeader(kBlockIn, i)}, {512, 1}));
  Driver().Notify();
  for (uint16_t head : heads) EXPECT_EQ(Driver().WaitFor(head)->status, kBlockStatusOk);
  EXPECT_EQ(Driver().counters().reads, 20u);
  EXPECT_GE(Driver().counters().throttle_events, 1u);
  EXPECT_TRUE(Eventually([&] { return Driver().counters().throttle_pending == 0; }));
}

TEST_P(VirtioBlockTest, B9_R7_ResettingADrainedBucketGivesOneBurst) {
  options_.limits = {.bytes_per_second = 1, .bytes_burst = 512};  // nothing comes back in a test
  for (int round = 0; round < 3; ++round) {
    Driver().Bind();
    EXPECT_EQ(Driver().counters().throttle_pending, 0u);
    EXPECT_EQ(Driver().Read(0, 1).status, kBlockStatusOk);
    Driver().Add({BlockHeader(kBlockIn, 0)}, {512, 1});
    Driver().Notify();
    EXPECT_TRUE(Eventually([&] { return Driver().counters().throttle_pending == 1; }));
    EXPECT_EQ(Driver().counters().throttle_events, round + 1u);
  }
  Driver().mmio().Reset();
  EXPECT_EQ(Driver().counters().throttle_pending, 0u);
  EXPECT_EQ(Driver().counters().reads, 3u);  // counters survive
}

TEST_P(VirtioBlockTest, EveryQueueIsServedByItsOwnWorker) {
  options_.queues = 4;
  Driver().Bind(BlockDriver::kAll, 64, 4);
  for (uint32_t i = 0; i < 4; ++i) {
    EXPECT_EQ(Driver().Write(i * 8, Pattern(4096, i), i).status, kBlockStatusOk);
    EXPECT_EQ(Driver().transport().queue_counters(i).chains_returned, 1u);
  }
  EXPECT_BYTES(Driver().Read(0, 32, 3).data,
               Pattern(4096, 0) + Pattern(4096, 1) + Pattern(4096, 2) + Pattern(4096, 3));
  Driver().Bind(BlockDriver::kAll & ~kBlockFeatureMultiQueue, 64, 1);
  EXPECT_BYTES(Driver().Read(0, 8).data, Pattern(4096, 0));
}

TEST_P(VirtioBlockTest, Q2_APoisonedQueueServesNothingUntilReset) {
  Driver().Bind();
  Driver().queue().SetAvailIndex(1000);
  Driver().Notify();
  EXPECT_TRUE(Eventually([&] { return Driver().mmio().status() == 0x4fu; }));
  EXPECT_EQ(Driver().transport().queue_counters(0).poisonings, 1u);
  Driver().Bind();
  EXPECT_EQ(Driver().Write(0, Pattern(512)).status, kBlockStatusOk);
}

TEST_P(VirtioBlockTest, B10_DumpStateHasTheCounters) {
  Driver().Bind();
  ASSERT_EQ(Driver().Write(0, Pattern(1024)).status, kBlockStatusOk);
  const nlohmann::json state = nlohmann::json::parse(Driver().transport().DumpState());
  EXPECT_EQ(state["device"]["writes"], 1);
  EXPECT_EQ(state["device"]["bytes_written"], 1024);
  EXPECT_EQ(state["device"]["engine"],
            Driver().device().engine() == EngineKind::kSync ? "sync" : "uring");
  EXPECT_EQ(state["device"]["workers"][0]["live"], true);
  EXPECT_EQ(state["queues"][0]["notifications"], 1);
}

TEST(VirtioBlockCreateTest, BadOptionsAreRefusedByName) {
  auto file = *BackingFile::CreateScratch(4096);
  EXPECT_FALSE(VirtioBlock::Create({.queues = 0}, file).ok());
  EXPECT_FALSE(VirtioBlock::Create({.queues = 257}, file).ok());
  auto serial = VirtioBlock::Create({.serial = "longer than twenty bytes"}, file);
  EXPECT_NE(serial.status().message().find("longer than twenty"), absl::string_view::npos);
}

}  // namespace
}  // namespace stasis
