#include "tools/harness/guest_disks.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>

#include "absl/strings/match.h"

namespace stasis {
namespace {

TEST(GuestDisksTest, TextsBecomeDisksInTheirOrder) {
  const auto settings = ParseDiskSettings({"scratch:1M", "image.raw,ro"}, "");

  ASSERT_TRUE(settings.ok()) << settings.status();
  ASSERT_EQ(settings->disks.size(), 2u);
  EXPECT_EQ(settings->disks[0].scratch_bytes, 1u << 20);
  EXPECT_EQ(settings->disks[1].path, "image.raw");
}

TEST(GuestDisksTest, BadDiskIsNamed) {
  const auto settings = ParseDiskSettings({"image.raw,fast"}, "");

  EXPECT_TRUE(absl::IsInvalidArgument(settings.status()));
  EXPECT_TRUE(absl::StrContains(settings.status().message(), "fast")) << settings.status();
}

TEST(GuestDisksTest, IoCpusThatThisProcessMayNotUseAreRefused) {
  const auto beyond = ParseDiskSettings({}, "1023");
  const auto noise = ParseDiskSettings({}, "all");
  const auto usable = ParseDiskSettings({}, "0");

  EXPECT_TRUE(absl::StrContains(beyond.status().message(), "CPU 1023")) << beyond.status();
  EXPECT_TRUE(absl::StrContains(noise.status().message(), "0-1,3")) << noise.status();
  EXPECT_TRUE(usable.ok()) << usable.status();
}

TEST(GuestDisksTest, MoreQueuesThanCpusAreRefused) {
  const auto settings = ParseDiskSettings({"scratch:1M,queues=3"}, "");
  ASSERT_TRUE(settings.ok()) << settings.status();

  EXPECT_TRUE(CheckDiskQueues(*settings, 3).ok());
  EXPECT_TRUE(absl::StrContains(CheckDiskQueues(*settings, 2).message(), "queues=3"));
}

TEST(GuestDisksTest, HeldDiskCannotBeOpenedForWritingAgain) {
  const std::string path = testing::TempDir() + "/guest_disks_test.img";
  std::ofstream(path) << std::string(4096, 'x');
  const auto settings = ParseDiskSettings({path}, "");
  ASSERT_TRUE(settings.ok()) << settings.status();
  const auto held = HoldDisks(*settings);
  ASSERT_TRUE(held.ok()) << held.status();

  const auto again = HoldDisks(*settings);

  EXPECT_TRUE(absl::IsFailedPrecondition(again.status())) << again.status();
  EXPECT_EQ(WritableDiskDirectories(*settings).size(), 1u);
  std::remove(path.c_str());
}

}  // namespace
}  // namespace stasis
