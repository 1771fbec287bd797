// Property test: for random requests a disk equals a simple model (bytes, status, length).
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "devices/block/testing/block_driver.h"

namespace stasis {
namespace {

constexpr uint64_t kSectors = 256;
constexpr int kZones = 8;  // requests of one round touch different zones: their order is free
constexpr uint64_t kZone = kSectors / kZones;
constexpr int kRounds = 150;

struct Expected {
  int status = 0;
  uint32_t used_length = 0;
  std::string data;
};

struct Made {
  std::vector<std::string> readable;
  std::vector<uint32_t> writable;
  Expected expected;
};

class Model {
 public:
  explicit Model(unsigned seed) : random_(seed), disk_(kSectors * 512, '\0') {}

  // A random request inside of `zone`, mostly valid, and what must come of it; the model's disk
  // is as it must be afterwards.
  Made Make(uint64_t zone) {
    const uint64_t sector = zone * kZone + random_() % kZone;
    const uint64_t sectors = 1 + random_() % (zone * kZone + kZone - sector);
    switch (random_() % 12) {
      case 0:
      case 1:
      case 2:
      case 3:
        return Read(sector, sectors);
      case 4:
      case 5:
      case 6:
        return Write(sector, sectors);
      case 7:
        return Clear(kBlockDiscard, sector, sectors, 0);
      case 8:
        return Clear(kBlockWriteZeroes, sector, sectors, random_() % 2);
      case 9:
        return {{BlockHeader(kBlockFlush, random_())}, {1}, {kBlockStatusOk, 1, ""}};
      case 10:
        return {{BlockHeader(kBlockGetId, 0)},
                Split(20),
                {kBlockStatusOk, 21, "model" + std::string(15, '\0')}};
      default:
        return Broken(sector);
    }
  }

  bool Indirect() { return random_() % 2 == 0; }
  const std::string& disk() const { return disk_; }

 private:
  // `length` and a status byte, in random pieces.
  std::vector<uint32_t> Split(uint32_t length) {
    std::vector<uint32_t> pieces;
    for (uint32_t left = length + 1; left > 0;) {
      const uint32_t most = pieces.size() > 20 ? left : std::min<uint32_t>(left, 4096);
      pieces.push_back(pieces.size() > 20 ? left : 1 + random_() % most);
      left -= pieces.back();
    }
    return pieces;
  }
  std::vector<std::string> Split(const std::string& bytes) {
    std::vector<std::string> pieces;
    for (size_t at = 0; at < bytes.size();) {
      const size_t left = bytes.size() - at;
      const size_t piece = pieces.size() > 20 ? left : 1 + random_() % std::min<size_t>(left, 4096);
      pieces.push_back(bytes.substr(at, piece));
      at += piece;
    }
    return pieces;
  }
  std::string Bytes(size_t length) {
    std::string bytes(length, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random_());
    return bytes;
  }

  Made Read(uint64_t sector, uint64_t sectors) {
    const uint32_t length = sectors * 512;
    return {{BlockHeader(kBlockIn, sector)},
            Split(length),
            {kBlockStatusOk, length + 1, disk_.substr(sector * 512, length)}};
  }
  Made Write(uint64_t sector, uint64_t sectors) {
    const std::string data = Bytes(sectors * 512);
    disk_.replace(sector * 512, data.size(), data);
    return {Split(BlockHeader(kBlockOut, sector) + data), {1}, {kBlockStatusOk, 1, ""}};
  }
  Made Clear(uint32_t type, uint64_t sector, uint64_t sectors, uint32_t flags) {
    // This file system punches what is discarded; the specification would allow anything.
    disk_.replace(sector * 512, sectors * 512, sectors * 512, '\0');
    const uint64_t first = sectors / 2;  // in two ranges, one of them perhaps empty
    return {Split(BlockHeader(type, 0) + BlockRangeBytes(sector, first, flags) +
                  BlockRangeBytes(sector + first, sectors - first, flags)),
            {1},
            {kBlockStatusOk, 1, ""}};
  }
  Made Broken(uint64_t sector) {
    const Expected io_error{kBlockStatusIoError, 1, ""};
    switch (random_() % 6) {
      case 0:
        return {{BlockHeader(kBlockOut, kSectors - 1), Bytes(1024)}, {1}, io_error};
      case 1:
        return {{BlockHeader(kBlockOut, sector), Bytes(512 + 1 + random_() % 511)}, {1}, io_error};
      case 2:
        return {{Bytes(random_() % 15 + 1)}, {1}, io_error};
      case 3:
        return {
            {BlockHeader(20 + random_() % 1000, sector)}, {1}, {kBlockStatusUnsupported, 1, ""}};
      case 4:
        return {{BlockHeader(kBlockOut, sector), Bytes(512)}, {}, {-1, 0, ""}};  // Q4
      default:
        return {{BlockHeader(kBlockDiscard, 0), BlockRangeBytes(kSectors, 1)}, {1}, io_error};
    }
  }

  std::mt19937_64 random_;
  std::string disk_;
};

class BlockModelTest : public testing::TestWithParam<std::tuple<EngineKind, unsigned>> {};

TEST_P(BlockModelTest, B3_B4_B6_Q3_Q4_TheDiskEqualsTheModel) {
  const auto [engine, seed] = GetParam();
  auto file = *BackingFile::CreateScratch(kSectors * 512);
  BlockDriver driver({.serial = "model", .engine = engine}, file);
  if (driver.device().engine() != engine) GTEST_SKIP() << "no io_uring on this host";
  Model model(seed);
  // Odd seeds run without write-back: completed is durable, and all else is the same (B7).
  driver.Bind(seed % 2 == 0 ? BlockDriver::kAll : BlockDriver::kAll & ~kBlockFeatureConfigWce);
  for (int round = 0; round < kRounds; ++round) {
    std::vector<std::pair<uint16_t, Expected>> sent;
    for (int zone = 0; zone < kZones; ++zone) {
      Made made = model.Make(zone);
      sent.emplace_back(driver.Add(made.readable, made.writable, 0, model.Indirect()),
                        made.expected);
    }
    if (driver.queue().NeedsKick()) driver.Notify();
    for (const auto& [head, expected] : sent) {
      const std::optional<BlockReply> reply = driver.WaitFor(head);
      ASSERT_TRUE(reply.has_value()) << "round " << round;
      ASSERT_EQ(reply->status, expected.status) << "round " << round;
      ASSERT_EQ(reply->used_length, expected.used_length) << "round " << round;
      ASSERT_TRUE(reply->data == expected.data) << "round " << round;
    }
  }
  std::string bytes(kSectors * 512, '\0');
  ASSERT_EQ(pread(file->fd(), bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
  EXPECT_TRUE(bytes == model.disk());
  EXPECT_EQ(driver.counters().io_errors, 0u);
}

// Requests in flight together may be carried out in any order, but each as a whole: what stays of
// writes that overlap is, sector by sector, one of theirs; a read beside them sees old bytes or new
// ones; each request is answered once. What was completed before a request was made is seen by it.
TEST_P(BlockModelTest, B6_B7_OverlappingRequestsInFlightLeaveEachSectorOldOrOfOneOfThem) {
  constexpr uint64_t kArea = 16;  // sectors
  constexpr int kWrites = 8;
  const auto [engine, seed] = GetParam();
  auto file = *BackingFile::CreateScratch(kArea * 512);
  BlockDriver driver({.engine = engine}, file);
  if (driver.device().engine() != engine) GTEST_SKIP() << "no io_uring on this host";
  driver.Bind(seed % 2 == 0 ? BlockDriver::kAll : BlockDriver::kAll & ~kBlockFeatureConfigWce);
  std::mt19937_64 random(seed);
  std::string before(kArea * 512, '\0');
  for (int round = 0; round < 60; ++round) {
    std::vector<std::string> may_be(kArea);  // the bytes that a sector may consist of
    std::vector<uint16_t> writes;
    for (int i = 0; i < kWrites; ++i) {
      const uint64_t first = random() % kArea;
      const uint64_t sectors = 1 + random() % (kArea - first);
      const char fill = static_cast<char>(1 + (round * kWrites + i) % 255);
      for (uint64_t at = first; at < first + sectors; ++at) may_be[at] += fill;
      writes.push_back(driver.Add(
          {BlockHeader(kBlockOut, first), std::string(sectors * 512, fill)}, {1}, 0, true));
    }
    const uint16_t read =
        driver.Add({BlockHeader(kBlockIn, 0)}, {uint32_t{kArea * 512}, 1}, 0, true);
    driver.Notify();

    for (const uint16_t head : writes) {
      const std::optional<BlockReply> reply = driver.WaitFor(head);
      ASSERT_TRUE(reply.has_value()) << "round " << round;
      ASSERT_EQ(reply->status, kBlockStatusOk);
    }
    const std::optional<BlockReply> beside = driver.WaitFor(read);
    ASSERT_TRUE(beside.has_value()) << "round " << round;
    const BlockReply after = driver.Read(0, kArea);
    ASSERT_EQ(after.data.size(), kArea * 512);
    for (uint64_t at = 0; at < kArea * 512; ++at) {
      const std::string& written = may_be[at / 512];
      // Whole sectors: each byte is like the first of its sector.
      ASSERT_EQ(after.data[at], after.data[at - at % 512]) << "round " << round << " byte " << at;
      ASSERT_NE((written.empty() ? std::string(1, before[at]) : written).find(after.data[at]),
                std::string::npos)
          << "round " << round << " byte " << at;
      ASSERT_NE((written + before[at]).find(beside->data[at]), std::string::npos)
          << "round " << round << " byte " << at;
    }
    before = after.data;
  }
  ASSERT_EQ(driver.Flush().status, kBlockStatusOk);
  std::string bytes(kArea * 512, '\0');
  ASSERT_EQ(pread(file->fd(), bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
  EXPECT_TRUE(bytes == before);
  EXPECT_EQ(driver.counters().writes, 60u * kWrites);
}

INSTANTIATE_TEST_SUITE_P(Engines, BlockModelTest,
                         testing::Combine(testing::Values(EngineKind::kSync, EngineKind::kUring),
                                          testing::Range(1u, 9u)));

}  // namespace
}  // namespace stasis
