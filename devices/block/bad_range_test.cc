#include "devices/block/bad_range.h"

#include <errno.h>
#include <gtest/gtest.h>

namespace stasis {
namespace {

std::optional<int64_t> Read(BadRange& bad, uint64_t offset, size_t length) {
  iovec part = {nullptr, length};
  IoStep step{.call = IoStep::Call::kReadv, .iov = &part, .iov_count = 1, .offset = offset};
  return bad.Intercept(step);
}

TEST(BadRangeTest, CallsThatTouchTheRangeFailAndTheirNeighboursDoNot) {
  BadRange bad({.offset = 4096, .length = 512});

  EXPECT_EQ(Read(bad, 4096, 512), -EIO);
  EXPECT_EQ(Read(bad, 0, 4097), -EIO);
  EXPECT_EQ(Read(bad, 4607, 10), -EIO);
  EXPECT_EQ(Read(bad, 0, 4096), std::nullopt);
  EXPECT_EQ(Read(bad, 4608, 4096), std::nullopt);
}

TEST(BadRangeTest, FallocateIsJudgedByItsLengthAndFlushNever) {
  BadRange bad({.offset = 4096, .length = 512});
  IoStep zeroes{.call = IoStep::Call::kFallocate, .offset = 0, .length = 8192};
  IoStep flush{.call = IoStep::Call::kFdatasync};

  EXPECT_EQ(bad.Intercept(zeroes), -EIO);
  EXPECT_EQ(bad.Intercept(flush), std::nullopt);
}

}  // namespace
}  // namespace stasis
