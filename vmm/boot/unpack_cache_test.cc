#include "vmm/boot/unpack_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <ctime>
#include <filesystem>
#include <thread>

#include "vmm/boot/kernel_image.h"
#include "vmm/boot/testing/test_images.h"

namespace stasis {
namespace {

namespace fs = std::filesystem;
using testing::Bytes;
using ::testing::HasSubstr;
using testing::MakeBzImage;
using testing::MakeElf;
using testing::TemporaryDirectory;

size_t CountFiles(const std::string& directory) {
  size_t count = 0;
  for (const auto& entry : fs::directory_iterator(directory)) count += entry.is_regular_file();
  return count;
}

struct stat Stat(const std::string& path) {
  struct stat status = {};
  EXPECT_EQ(stat(path.c_str(), &status), 0);
  return status;
}

// A bzImage in a file whose change time is old enough to be trusted. ctime cannot be set, so the
// status that the cache sees is aged instead.
struct stat Settled(const std::string& path) {
  struct stat status = Stat(path);
  status.st_ctim.tv_sec -= 60;
  return status;
}

TEST(Sha256Test, MatchesTheStandardsExample) {  // FIPS 180-2, B.1
  EXPECT_EQ(Sha256Hex(testing::AsBytes("abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(UnpackCacheTest, WhatIsStoredIsFoundByContentAndByIdentity) {
  TemporaryDirectory directory;
  const auto packed = Settled(directory.Write("vmlinuz", std::string("packed")));
  const Bytes unpacked(10000, 'u');
  UnpackCache cache(directory.path());
  ASSERT_FALSE(cache.FindByContent("abcd").has_value());

  ASSERT_TRUE(cache.Store("abcd", unpacked).ok());
  EXPECT_FALSE(cache.FindByIdentity(packed).has_value());
  cache.Remember(packed, "abcd");

  EXPECT_EQ(cache.FindByContent("abcd")->bytes(), absl::MakeConstSpan(unpacked));
  EXPECT_EQ(cache.FindByIdentity(packed)->bytes(), absl::MakeConstSpan(unpacked));
}

TEST(UnpackCacheTest, AChangedFileIsNotFoundByIdentity) {
  TemporaryDirectory directory;
  const auto packed = Settled(directory.Write("vmlinuz", std::string("packed")));
  UnpackCache cache(directory.path());
  ASSERT_TRUE(cache.Store("abcd", Bytes(100)).ok());
  cache.Remember(packed, "abcd");
  struct stat changed = packed;
  changed.st_mtim.tv_nsec ^= 1;
  EXPECT_FALSE(cache.FindByIdentity(changed).has_value());
  changed = packed;
  changed.st_size += 1;
  EXPECT_FALSE(cache.FindByIdentity(changed).has_value());
  changed = packed;
  changed.st_ctim.tv_sec += 1;
  EXPECT_FALSE(cache.FindByIdentity(changed).has_value());
}

TEST(UnpackCacheTest, AFileThatWasJustWrittenIsNotTrusted) {
  TemporaryDirectory directory;
  struct stat packed = Settled(directory.Write("vmlinuz", std::string("packed")));
  packed.st_mtim.tv_sec = time(nullptr);
  UnpackCache cache(directory.path());
  ASSERT_TRUE(cache.Store("abcd", Bytes(100)).ok());
  cache.Remember(packed, "abcd");
  EXPECT_FALSE(cache.FindByIdentity(packed).has_value());
}

TEST(UnpackCacheTest, ALinkThatLeadsNowhereIsReplaced) {
  TemporaryDirectory directory;
  const auto packed = Settled(directory.Write("vmlinuz", std::string("packed")));
  UnpackCache cache(directory.path());
  ASSERT_TRUE(cache.Store("old", Bytes(100)).ok());
  cache.Remember(packed, "old");
  fs::remove(directory.path() + "/unpacked/old.vmlinux");
  ASSERT_TRUE(cache.Store("new", Bytes(200)).ok());
  cache.Remember(packed, "new");
  ASSERT_TRUE(cache.FindByIdentity(packed).has_value());
  EXPECT_EQ(cache.FindByIdentity(packed)->bytes().size(), 200u);
}

TEST(UnpackCacheTest, NoRoomNamesTheRoomNeededAndLeavesNoFile) {
  TemporaryDirectory directory;
  signal(SIGXFSZ, SIG_IGN);
  rlimit old_limit;
  getrlimit(RLIMIT_FSIZE, &old_limit);
  const rlimit limit = {1 << 20, old_limit.rlim_max};  // stands for a full disk: EFBIG for ENOSPC
  setrlimit(RLIMIT_FSIZE, &limit);
  const auto status = UnpackCache(directory.path()).Store("abcd", Bytes(5 << 20));
  setrlimit(RLIMIT_FSIZE, &old_limit);

  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("needs 6 MiB free"));
  EXPECT_EQ(CountFiles(directory.path() + "/unpacked"), 0u);
}

TEST(UnpackCacheTest, WhatAKilledWriterLeftIsRemovedAfterAnHour) {
  TemporaryDirectory directory;
  const std::string old_file = directory.Write("unpacked/.tmp-old", std::string("half"));
  const std::string new_file = directory.Write("unpacked/.tmp-new", std::string("half"));
  fs::last_write_time(old_file, fs::file_time_type::clock::now() - std::chrono::hours(2));
  ASSERT_TRUE(UnpackCache(directory.path()).Store("abcd", Bytes(100)).ok());
  EXPECT_FALSE(fs::exists(old_file));
  EXPECT_TRUE(fs::exists(new_file));
}

TEST(UnpackCacheTest, ManyWritersAtOnceLeaveOneWholeFile) {
  TemporaryDirectory directory;
  const Bytes unpacked(3 << 20, 'u');
  std::vector<std::thread> writers;
  std::atomic<int> failures = 0;
  for (int i = 0; i < 8; ++i) {
    writers.emplace_back([&] {
      const UnpackCache cache(directory.path());
      if (!cache.Store("abcd", unpacked).ok()) ++failures;
      if (cache.FindByContent("abcd")->bytes() != absl::MakeConstSpan(unpacked)) ++failures;
    });
  }
  for (auto& writer : writers) writer.join();
  EXPECT_EQ(failures, 0);
  EXPECT_EQ(CountFiles(directory.path() + "/unpacked"), 1u);
}

TEST(CachedKernelTest, TheSecondLoadComesFromTheCache) {
  TemporaryDirectory directory;
  const std::string path = directory.Write("vmlinuz", MakeBzImage({}, MakeElf({})));
  const KernelImageOptions options = {.cache_directory = directory.path() + "/cache"};
  ASSERT_TRUE(KernelImage::Load(path, options).ok());
  ASSERT_EQ(CountFiles(directory.path() + "/cache/unpacked"), 1u);

  // Proof that the cached file is what is loaded: it is exchanged for another kernel.
  for (const auto& entry : fs::directory_iterator(directory.path() + "/cache/unpacked")) {
    if (!entry.is_regular_file()) continue;
    const Bytes other = MakeElf({.address = 0x2000000});
    directory.Write("other", other);
    fs::rename(directory.path() + "/other", entry.path());
  }
  auto second = KernelImage::Load(path, options);
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(second->load_begin(), GuestAddress(0x2000000));
}

TEST(CachedKernelTest, ADamagedCacheFileIsUnpackedAgain) {
  TemporaryDirectory directory;
  const std::string path = directory.Write("vmlinuz", MakeBzImage({}, MakeElf({})));
  const KernelImageOptions options = {.cache_directory = directory.path() + "/cache"};
  ASSERT_TRUE(KernelImage::Load(path, options).ok());
  for (const auto& entry : fs::directory_iterator(directory.path() + "/cache/unpacked")) {
    if (!entry.is_regular_file()) continue;
    fs::remove(entry.path());
    directory.Write("cache/unpacked/" + entry.path().filename().string(), std::string("rubbish"));
  }
  auto second = KernelImage::Load(path, options);
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(second->load_begin(), GuestAddress(0x1000000));
}

TEST(CachedKernelTest, ACacheThatCannotBeWrittenDoesNotStopTheKernel) {
  TemporaryDirectory directory;
  const std::string path = directory.Write("vmlinuz", MakeBzImage({}, MakeElf({})));
  // A path through a file: no user, not even root, can make that directory.
  auto image = KernelImage::Load(path, {.cache_directory = path + "/cache"});
  ASSERT_TRUE(image.ok()) << image.status();
  EXPECT_EQ(image->load_begin(), GuestAddress(0x1000000));
}

TEST(CachedKernelTest, AFullDiskIsAnErrorOfTheLoad) {
  TemporaryDirectory directory;
  const Bytes elf = MakeElf({.padding = 4 << 20});
  const std::string path = directory.Write("vmlinuz", MakeBzImage({}, elf));
  signal(SIGXFSZ, SIG_IGN);
  rlimit old_limit;
  getrlimit(RLIMIT_FSIZE, &old_limit);
  const rlimit limit = {1 << 20, old_limit.rlim_max};
  setrlimit(RLIMIT_FSIZE, &limit);
  auto image = KernelImage::Load(path, {.cache_directory = directory.path() + "/cache"});
  setrlimit(RLIMIT_FSIZE, &old_limit);
  EXPECT_EQ(image.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(image.status().message()), HasSubstr("no room to unpack the kernel"));
}

}  // namespace
}  // namespace stasis
