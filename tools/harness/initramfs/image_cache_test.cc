#include "tools/harness/initramfs/image_cache.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/resource.h>

#include <filesystem>

#include "gtest/gtest.h"
#include "tools/harness/initramfs/files.h"

namespace stasis {
namespace {

namespace fs = std::filesystem;

class ImageCacheTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "/cacheXXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    dir_ = fs::canonical(pattern);
  }
  void TearDown() override { fs::remove_all(dir_); }

  size_t Entries() const {
    size_t count = 0;
    for ([[maybe_unused]] const auto& entry : fs::directory_iterator(dir_)) ++count;
    return count;
  }

  static ImageCache::Builder Text(const std::string& text) {
    return [text](const ImageCache::Writer& write) { return write(text); };
  }

  std::string dir_;
};

TEST_F(ImageCacheTest, StoredImageIsFoundByItsKeyOnly) {
  const ImageCache cache(dir_);
  ASSERT_TRUE(cache.Store("key\n", Text("image")).ok());

  auto image = cache.Find("key\n");
  ASSERT_TRUE(image.has_value());
  EXPECT_EQ(*ReadFile(image->path), "image");
  EXPECT_EQ(image->size, 5u);
  EXPECT_FALSE(cache.Find("other\n").has_value());
}

TEST_F(ImageCacheTest, DamagedImageIsNotFoundAndIsReplaced) {
  const ImageCache cache(dir_);
  auto image = cache.Store("key\n", Text("image"));
  ASSERT_TRUE(image.ok());
  fs::resize_file(image->path, 2);

  EXPECT_FALSE(cache.Find("key\n").has_value());
  ASSERT_TRUE(cache.Store("key\n", Text("image")).ok());
  EXPECT_TRUE(cache.Find("key\n").has_value());
}

TEST_F(ImageCacheTest, LosingTheRaceGivesTheOthersImage) {
  const ImageCache cache(dir_);
  auto mine = cache.Store("key\n", [&](const ImageCache::Writer& write) {
    EXPECT_TRUE(ImageCache(dir_).Store("key\n", Text("theirs")).ok());
    return write("mine");
  });

  ASSERT_TRUE(mine.ok()) << mine.status();
  EXPECT_EQ(*ReadFile(mine->path), "theirs");
  EXPECT_EQ(Entries(), 1u);
}

TEST_F(ImageCacheTest, FailedBuildLeavesNothing) {
  const ImageCache cache(dir_);
  auto image = cache.Store("key\n", [](const ImageCache::Writer& write) {
    EXPECT_TRUE(write("half").ok());
    return absl::NotFoundError("no agent");
  });

  EXPECT_EQ(image.status().message(), "no agent");
  EXPECT_EQ(Entries(), 0u);
}

TEST_F(ImageCacheTest, WriteThatFailsHalfwayNamesTheCacheAndLeavesNothing) {
  // A file size limit makes write(2) fail in the middle, as a full disk does.
  signal(SIGXFSZ, SIG_IGN);
  rlimit before;
  getrlimit(RLIMIT_FSIZE, &before);
  const rlimit limit = {.rlim_cur = 8192, .rlim_max = before.rlim_max};
  setrlimit(RLIMIT_FSIZE, &limit);
  auto image = ImageCache(dir_).Store("key\n", Text(std::string(100000, 'x')));
  setrlimit(RLIMIT_FSIZE, &before);

  ASSERT_FALSE(image.ok());
  EXPECT_NE(image.status().message().find(dir_), absl::string_view::npos) << image.status();
  EXPECT_EQ(Entries(), 0u);
}

TEST_F(ImageCacheTest, FullDiskSaysHowMuchRoomThereIs) {
  const std::string small = dir_ + "/small";
  fs::create_directory(small);
  if (mount("none", small.c_str(), "tmpfs", 0, "size=64k") != 0) {
    GTEST_SKIP() << "needs the right to mount a small tmpfs";
  }
  auto image = ImageCache(small).Store("key\n", Text(std::string(200000, 'x')));
  const bool left = !fs::is_empty(small);
  umount(small.c_str());

  EXPECT_EQ(image.status().code(), absl::StatusCode::kResourceExhausted) << image.status();
  EXPECT_NE(image.status().message().find("STASIS_CACHE"), absl::string_view::npos);
  EXPECT_FALSE(left);
}

TEST_F(ImageCacheTest, UnwritableCacheNamesItself) {
  auto image = ImageCache("/proc/nowhere").Store("key\n", Text("x"));

  ASSERT_FALSE(image.ok());
  EXPECT_NE(image.status().message().find("/proc/nowhere"), absl::string_view::npos);
}

}  // namespace
}  // namespace stasis
