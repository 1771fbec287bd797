#include "devices/block/io_transfer.h"

#include <errno.h>
#include <gtest/gtest.h>
#include <linux/falloc.h>
#include <sys/uio.h>

#include <string>
#include <vector>

namespace stasis {
namespace {

using Call = IoStep::Call;

iovec Vector(std::string& bytes) { return {.iov_base = bytes.data(), .iov_len = bytes.size()}; }

IoRequest Read(std::vector<iovec> iov, uint64_t offset) {
  return {.kind = IoKind::kRead, .offset = offset, .iov = std::move(iov)};
}

TEST(IoTransferTest, B6_AShortReadGoesOnWhereItStopped) {
  std::string first(1000, 'a');
  std::string second(500, 'b');
  IoTransfer transfer;
  transfer.Start(Read({Vector(first), Vector(second)}, 4096));
  transfer.Done(1200);
  std::optional<IoStep> step = transfer.Next();
  ASSERT_TRUE(step.has_value());
  EXPECT_EQ(step->call, Call::kReadv);
  EXPECT_EQ(step->offset, 4096u + 1200);
  ASSERT_EQ(step->iov_count, 1);
  EXPECT_EQ(step->iov[0].iov_base, second.data() + 200);
  EXPECT_EQ(step->iov[0].iov_len, 300u);
  transfer.Done(300);
  EXPECT_TRUE(transfer.finished());
  EXPECT_EQ(transfer.error(), 0);
}

TEST(IoTransferTest, B6_EintrRepeatsTheSameCall) {
  std::string bytes(512, 'a');
  IoTransfer transfer;
  transfer.Start(Read({Vector(bytes)}, 512));
  transfer.Done(-EINTR);
  ASSERT_TRUE(transfer.Next().has_value());
  EXPECT_EQ(transfer.Next()->offset, 512u);
  EXPECT_EQ(transfer.Next()->iov[0].iov_len, 512u);
}

TEST(IoTransferTest, B6_EndOfFileReadsAsZeroes) {
  std::string first(512, 'a');
  std::string second(512, 'b');
  IoTransfer transfer;
  transfer.Start(Read({Vector(first), Vector(second)}, 0));
  transfer.Done(100);
  transfer.Done(0);
  EXPECT_TRUE(transfer.finished());
  EXPECT_EQ(transfer.error(), 0);
  EXPECT_EQ(first, std::string(100, 'a') + std::string(412, '\0'));
  EXPECT_EQ(second, std::string(512, '\0'));
}

TEST(IoTransferTest, AWriteThatMovesNothingIsAnErrorAndNotALoop) {
  std::string bytes(512, 'a');
  IoTransfer transfer;
  transfer.Start({.kind = IoKind::kWrite, .iov = {Vector(bytes)}});
  transfer.Done(0);
  EXPECT_TRUE(transfer.finished());
  EXPECT_EQ(transfer.error(), EIO);
}

TEST(IoTransferTest, AnErrorEndsTheTransfer) {
  std::string bytes(512, 'a');
  IoTransfer transfer;
  transfer.Start(Read({Vector(bytes)}, 0));
  transfer.Done(-ENOSPC);
  EXPECT_TRUE(transfer.finished());
  EXPECT_EQ(transfer.error(), ENOSPC);
  EXPECT_FALSE(transfer.Next().has_value());
}

TEST(IoTransferTest, AnEmptyReadNeedsNoCall) {
  IoTransfer transfer;
  transfer.Start(Read({}, 0));
  EXPECT_TRUE(transfer.finished());
  EXPECT_EQ(transfer.error(), 0);
}

TEST(IoTransferTest, MoreVectorsThanACallTakesAreSplit) {
  std::string bytes(1500, 'a');
  std::vector<iovec> iov;
  for (char& byte : bytes) iov.push_back({.iov_base = &byte, .iov_len = 1});
  IoTransfer transfer;
  transfer.Start(Read(iov, 0));
  EXPECT_EQ(transfer.Next()->iov_count, 1024);
  transfer.Done(1024);
  EXPECT_EQ(transfer.Next()->iov_count, 476);
  transfer.Done(476);
  EXPECT_TRUE(transfer.finished());
}

TEST(IoTransferTest, B7_ADurableWriteAsksForItInEveryCall) {
  std::string bytes(1024, 'a');
  IoTransfer transfer;
  transfer.Start({.kind = IoKind::kWrite, .iov = {Vector(bytes)}, .durable = true});
  EXPECT_EQ(transfer.Next()->flags, RWF_DSYNC);
  transfer.Done(512);
  EXPECT_EQ(transfer.Next()->flags, RWF_DSYNC);
  transfer.Start({.kind = IoKind::kWrite, .iov = {Vector(bytes)}});
  EXPECT_EQ(transfer.Next()->flags, 0);
}

TEST(IoTransferTest, B7_DurableZeroesAreSyncedAtTheEnd) {
  IoTransfer transfer;
  transfer.Start({.kind = IoKind::kWriteZeroes,
                  .ranges = {{.offset = 0, .length = 512}, {.offset = 4096, .length = 512}},
                  .durable = true});
  EXPECT_EQ(transfer.Next()->call, Call::kFallocate);
  transfer.Done(0);
  EXPECT_EQ(transfer.Next()->offset, 4096u);
  transfer.Done(0);
  EXPECT_EQ(transfer.Next()->call, Call::kFdatasync);
  transfer.Done(0);
  EXPECT_TRUE(transfer.finished());
}

TEST(IoTransferTest, DiscardPunchesAndZeroesKeepTheSpaceUnlessUnmapIsAllowed) {
  const IoRange plain{.offset = 512, .length = 1024};
  const IoRange unmap{.offset = 512, .length = 1024, .unmap = true};
  IoTransfer transfer;
  transfer.Start({.kind = IoKind::kDiscard, .ranges = {plain}});
  EXPECT_EQ(transfer.Next()->flags, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE);
  transfer.Start({.kind = IoKind::kWriteZeroes, .ranges = {plain}});
  EXPECT_EQ(transfer.Next()->flags, FALLOC_FL_KEEP_SIZE | FALLOC_FL_ZERO_RANGE);
  transfer.Start({.kind = IoKind::kWriteZeroes, .ranges = {unmap}});
  EXPECT_EQ(transfer.Next()->flags, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE);
  EXPECT_EQ(transfer.Next()->offset, 512u);
  EXPECT_EQ(transfer.Next()->length, 1024u);
}

TEST(IoTransferTest, ADiscardThatTheFileSystemDoesNotHaveSucceeds) {
  IoTransfer transfer;
  transfer.Start({.kind = IoKind::kDiscard, .ranges = {{.offset = 0, .length = 512}}});
  transfer.Done(-EOPNOTSUPP);
  EXPECT_TRUE(transfer.finished());
  EXPECT_EQ(transfer.error(), 0);
}

TEST(IoTransferTest, ZeroesAreWrittenWhereZeroRangeIsMissing) {
  constexpr uint64_t kLength = (3 << 20) + 512;
  IoTransfer transfer;
  transfer.Start({.kind = IoKind::kWriteZeroes, .ranges = {{.offset = 512, .length = kLength}}});
  transfer.Done(-EOPNOTSUPP);
  uint64_t written = 0;
  while (std::optional<IoStep> step = transfer.Next()) {
    ASSERT_EQ(step->call, Call::kWritev);
    ASSERT_EQ(step->offset, 512 + written);
    uint64_t bytes = 0;
    for (int i = 0; i < step->iov_count; ++i) bytes += step->iov[i].iov_len;
    if (written == 0) bytes = 1000;  // a short write
    written += bytes;
    transfer.Done(bytes);
  }
  EXPECT_EQ(written, kLength);
  EXPECT_EQ(transfer.error(), 0);
}

}  // namespace
}  // namespace stasis
