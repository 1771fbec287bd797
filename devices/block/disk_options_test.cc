#include "devices/block/disk_options.h"

#include <gtest/gtest.h>

#include <string>

namespace stasis {
namespace {

DiskOptions Parsed(const std::string& text) {
  auto options = ParseDiskOptions(text);
  EXPECT_TRUE(options.ok()) << options.status();
  return options.value_or(DiskOptions());
}

// The message of a refusal, which must quote the text.
std::string Refusal(const std::string& text) {
  auto options = ParseDiskOptions(text);
  EXPECT_FALSE(options.ok()) << text;
  const std::string message(options.status().message());
  EXPECT_NE(message.find(text), std::string::npos) << message;
  return message;
}

TEST(DiskOptionsTest, AFileAloneGetsTheDefaults) {
  const DiskOptions options = Parsed("/images/root.img");
  EXPECT_EQ(options.path, "/images/root.img");
  EXPECT_FALSE(options.read_only);
  EXPECT_FALSE(options.direct);
  EXPECT_FALSE(options.limits.limited());
  EXPECT_EQ(options.queues, 0);
  EXPECT_EQ(options.engine, EngineKind::kUring);
}

TEST(DiskOptionsTest, EveryOptionIsTaken) {
  const DiskOptions options =
      Parsed("a.img,ro,direct,iops=1000,bps=10M,burst=500ms,queues=4,engine=sync");
  EXPECT_EQ(options.path, "a.img");
  EXPECT_TRUE(options.read_only);
  EXPECT_TRUE(options.direct);
  EXPECT_EQ(options.limits.ops_per_second, 1000u);
  EXPECT_EQ(options.limits.bytes_per_second, 10u << 20);
  EXPECT_EQ(options.limits.ops_burst, 500u);
  EXPECT_EQ(options.limits.bytes_burst, 5u << 20);
  EXPECT_EQ(options.queues, 4);
  EXPECT_EQ(options.engine, EngineKind::kSync);
}

TEST(DiskOptionsTest, SizesHaveUnits) {
  EXPECT_EQ(Parsed("scratch:512").scratch_bytes, 512u);
  EXPECT_EQ(Parsed("scratch:3k").scratch_bytes, 3u << 10);
  EXPECT_EQ(Parsed("scratch:1G").scratch_bytes, 1u << 30);
  EXPECT_EQ(Parsed("scratch:2T").scratch_bytes, uint64_t{2} << 40);
}

TEST(DiskOptionsTest, TwoCommasInANameAreOne) {
  const DiskOptions options = Parsed("odd,,name,,.img,ro");
  EXPECT_EQ(options.path, "odd,name,.img");
  EXPECT_TRUE(options.read_only);
}

TEST(DiskOptionsTest, AShortBurstIsAtLeastOneToken) {
  EXPECT_EQ(Parsed("a,iops=1,burst=1ms").limits.ops_burst, 1u);
  EXPECT_EQ(Parsed("a,iops=1,burst=1ms").limits.bytes_burst, 0u);  // no limit there
}

TEST(DiskOptionsTest, MistakesAreNamed) {
  EXPECT_NE(Refusal("").find("file's name"), std::string::npos);
  EXPECT_NE(Refusal(",ro").find("file's name"), std::string::npos);
  EXPECT_NE(Refusal("a,rw").find("'rw'"), std::string::npos);
  EXPECT_NE(Refusal("a,rw").find("engine=uring|sync"), std::string::npos);
  EXPECT_NE(Refusal("a,").find("unknown option ''"), std::string::npos);
  EXPECT_NE(Refusal("a,ro=1").find("takes no value"), std::string::npos);
  EXPECT_NE(Refusal("a,ro,ro").find("twice"), std::string::npos);
  EXPECT_NE(Refusal("a,engine=aio").find("uring or sync"), std::string::npos);
  EXPECT_NE(Refusal("a,burst=1s").find("without iops or bps"), std::string::npos);
  for (const char* text : {"a,iops=0",
                           "a,iops=-1",
                           "a,iops=",
                           "a,iops",
                           "a,iops=1x",
                           "a,bps=0",
                           "a,bps=1X",
                           "a,bps= 1",
                           "a,bps=99999999999999999999",
                           "a,bps=99999999T",
                           "a,queues=0",
                           "a,queues=257",
                           "a,queues=",
                           "a,iops=1,burst=0s",
                           "a,iops=1,burst=5",
                           "a,iops=1,burst=inf",
                           "a,iops=1,burst=-1s",
                           "scratch:",
                           "scratch:0",
                           "scratch:511",
                           "scratch:1Q",
                           "scratch:9999999T",
                           "scratch:1G,ro",
                           "scratch:1G,direct"}) {
    Refusal(text);
  }
}

TEST(DiskOptionsTest, OpenDiskMakesScratchDisksAndNamesMissingFiles) {
  auto scratch = OpenDisk(Parsed("scratch:1M"));
  ASSERT_TRUE(scratch.ok()) << scratch.status();
  EXPECT_EQ((*scratch)->size(), 1u << 20);
  auto missing = OpenDisk(Parsed(testing::TempDir() + "/missing.img,ro"));
  EXPECT_NE(missing.status().message().find("missing.img"), absl::string_view::npos);
}

}  // namespace
}  // namespace stasis
