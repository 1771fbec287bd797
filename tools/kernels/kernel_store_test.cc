#include "tools/kernels/kernel_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/utsname.h>

#include <algorithm>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "tools/kernels/store_layout.h"
#include "vmm/boot/testing/test_images.h"

namespace stasis {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class KernelStoreTest : public ::testing::Test {
 protected:
  void Add(const std::string& release, const KernelOrigin& origin, bool modules = true) {
    const std::string folder = absl::StrCat("cache/kernels/", release);
    directory_.Write(folder + "/vmlinuz", std::string("image"));
    directory_.Write(folder + "/config", std::string("CONFIG_SMP=y\n"));
    if (modules) {
      directory_.Write(absl::StrCat(folder, "/lib/modules/", release, "/modules.dep"),
                       std::string());
    }
    ASSERT_TRUE(WriteOrigin(directory_.path() + "/" + folder, origin).ok());
  }
  void AddDebian(const std::string& release) { Add(release, {.kind = "debian", .name = "x"}); }
  KernelStore Store() const {
    return KernelStore(directory_.path() + "/cache", nullptr, directory_.path() + "/root");
  }
  std::string ResolveRelease(const std::string& argument, const Environment& environment = {}) {
    auto kernel = Store().Resolve(argument, environment);
    return kernel.ok() ? kernel->release : std::string(kernel.status().message());
  }

  testing::TemporaryDirectory directory_;
};

TEST_F(KernelStoreTest, AnEmptyCacheListsNothing) {
  auto kernels = Store().List();
  ASSERT_TRUE(kernels.ok()) << kernels.status();
  EXPECT_TRUE(kernels->empty());
}

TEST_F(KernelStoreTest, KernelsAreListedNewestFirstAndHalfOnesNot) {
  AddDebian("6.9.1-cloud-amd64");
  AddDebian("6.12.3-cloud-amd64");
  Add("6.12.3-tiny", {.kind = "build", .name = "tiny"}, /*modules=*/false);
  directory_.Write("cache/kernels/.staging-abc/vmlinuz", std::string("half"));
  directory_.Write("cache/kernels/6.99-empty/config", std::string("no image"));
  auto kernels = Store().List();
  ASSERT_TRUE(kernels.ok()) << kernels.status();
  ASSERT_EQ(kernels->size(), 3u);
  EXPECT_EQ((*kernels)[0].release, "6.12.3-tiny");
  EXPECT_EQ((*kernels)[0].modules, "");
  EXPECT_EQ((*kernels)[2].release, "6.9.1-cloud-amd64");
  EXPECT_THAT((*kernels)[2].modules, HasSubstr("/lib/modules/6.9.1-cloud-amd64"));
}

TEST_F(KernelStoreTest, AReleaseAPrefixAndABuildsNameAreResolved) {
  AddDebian("6.12.3-cloud-amd64");
  AddDebian("6.12.20-cloud-amd64");
  Add("6.12.99-tiny", {.kind = "build", .name = "tiny"});
  Add("7.2.1-cloud-amd64", {.kind = "debian", .name = "sid"});
  EXPECT_EQ(ResolveRelease("6.12.3-cloud-amd64"), "6.12.3-cloud-amd64");
  EXPECT_EQ(ResolveRelease("6.12"), "6.12.20-cloud-amd64");  // Debian's before builds
  EXPECT_EQ(ResolveRelease("tiny"), "6.12.99-tiny");
  EXPECT_EQ(ResolveRelease("sid"), "7.2.1-cloud-amd64");
}

TEST_F(KernelStoreTest, APrefixEndsBetweenNumbers) {
  AddDebian("6.12.3-cloud-amd64");
  EXPECT_THAT(ResolveRelease("6.1"), HasSubstr("neither a file nor in the cache"));
}

TEST_F(KernelStoreTest, WithoutAnArgumentTheVariableComesThenDebians612ThenAnyThenTheHost) {
  utsname host;
  uname(&host);
  const std::string host_image = absl::StrCat("root/boot/vmlinuz-", host.release);
  EXPECT_THAT(ResolveRelease(""), HasSubstr("stasis kernel fetch 6.12"));
  directory_.Write(host_image, std::string("host"));
  EXPECT_EQ(ResolveRelease(""), host.release);
  Add("6.12.99-tiny", {.kind = "build", .name = "tiny"});
  EXPECT_EQ(ResolveRelease(""), "6.12.99-tiny");
  AddDebian("7.2.1-cloud-amd64");
  EXPECT_EQ(ResolveRelease(""), "7.2.1-cloud-amd64");
  AddDebian("6.12.3-cloud-amd64");
  EXPECT_EQ(ResolveRelease(""), "6.12.3-cloud-amd64");
  EXPECT_EQ(ResolveRelease("", {{"STASIS_KERNEL", "7.2"}}), "7.2.1-cloud-amd64");
  EXPECT_THAT(ResolveRelease("", {{"STASIS_KERNEL", "9.9"}}), HasSubstr("$STASIS_KERNEL: "));
}

TEST_F(KernelStoreTest, TheHostsKernelComesWithItsModulesAndConfiguration) {
  utsname host;
  uname(&host);
  directory_.Write(absl::StrCat("root/boot/vmlinuz-", host.release), std::string("host"));
  directory_.Write(absl::StrCat("root/boot/config-", host.release), std::string("CONFIG_SMP=y\n"));
  directory_.Write(absl::StrCat("root/lib/modules/", host.release, "/modules.dep"), std::string());
  auto kernel = Store().Resolve("", {});
  ASSERT_TRUE(kernel.ok()) << kernel.status();
  EXPECT_FALSE(kernel->modules.empty());
  EXPECT_FALSE(kernel->config.empty());
  EXPECT_EQ(kernel->origin, "the host's own");
}

TEST_F(KernelStoreTest, ABuildTreeGivesItsBzImageConfigurationAndRelease) {
  directory_.Write("tree/Makefile", std::string("all:\n"));
  directory_.Write("tree/.config", std::string("CONFIG_SMP=y\n"));
  directory_.Write("tree/vmlinux", std::string("elf"));
  directory_.Write("tree/include/config/kernel.release", std::string("6.13.0-mine\n"));
  const std::string tree = directory_.path() + "/tree";
  EXPECT_EQ(Store().Resolve(tree, {})->image, tree + "/vmlinux");
  directory_.Write("tree/arch/x86/boot/bzImage", std::string("bz"));
  auto kernel = Store().Resolve(tree, {});
  ASSERT_TRUE(kernel.ok()) << kernel.status();
  EXPECT_EQ(kernel->image, tree + "/arch/x86/boot/bzImage");
  EXPECT_EQ(kernel->config, tree + "/.config");
  EXPECT_EQ(kernel->release, "6.13.0-mine");
}

TEST_F(KernelStoreTest, APathIntoTheStoreBringsItsModules) {
  AddDebian("6.12.3-cloud-amd64");
  const std::string folder = directory_.path() + "/cache/kernels/6.12.3-cloud-amd64";
  EXPECT_FALSE(Store().Resolve(folder + "/vmlinuz", {})->modules.empty());
  EXPECT_FALSE(Store().Resolve(folder, {})->modules.empty());
}

TEST_F(KernelStoreTest, AFileIsTakenAsItIs) {
  const std::string path = directory_.Write("some/kernel", std::string("x"));
  auto kernel = Store().Resolve(path, {});
  ASSERT_TRUE(kernel.ok()) << kernel.status();
  EXPECT_EQ(kernel->image, path);
  EXPECT_EQ(kernel->modules, "");
}

TEST_F(KernelStoreTest, WhatIsNotThereIsAnErrorWithNearMatches) {
  Add("6.12.99-tiny", {.kind = "build", .name = "tiny"});
  AddDebian("6.12.3-cloud-amd64");
  EXPECT_THAT(ResolveRelease("tinny"), HasSubstr("did you mean tiny?"));
  EXPECT_THAT(ResolveRelease("6.13"), HasSubstr("did you mean"));
  EXPECT_THAT(ResolveRelease("zzz"), HasSubstr("stasis kernel fetch 6.12"));
  EXPECT_THAT(ResolveRelease("/no/such/file"), HasSubstr("no such file"));
  EXPECT_THAT(ResolveRelease(directory_.path()), HasSubstr("a folder without a kernel"));
}

TEST(CacheDirectoryTest, VariablesInTheirOrder) {
  EXPECT_EQ(*CacheDirectory({{"STASIS_CACHE", "/s"}, {"HOME", "/h"}}), "/s");
  EXPECT_EQ(*CacheDirectory({{"XDG_CACHE_HOME", "/x"}, {"HOME", "/h"}}), "/x/stasis");
  EXPECT_EQ(*CacheDirectory({{"HOME", "/h"}}), "/h/.cache/stasis");
  EXPECT_FALSE(CacheDirectory({}).ok());
}

TEST(ReleaseLessTest, NumbersAreComparedByValue) {
  EXPECT_TRUE(ReleaseLess("6.9.1", "6.12.0"));
  EXPECT_FALSE(ReleaseLess("6.12.0", "6.9.1"));
  EXPECT_TRUE(ReleaseLess("6.12", "6.12.1"));
  EXPECT_FALSE(ReleaseLess("6.12", "6.12"));
}

TEST(CheckRoomTest, MoreThanTheDiskHasNamesBothSizes) {
  const auto status = CheckRoom("/tmp", uint64_t{1} << 60, "the build");
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("the build needs"));
  EXPECT_TRUE(CheckRoom("/tmp", 0, "x").ok());
}

TEST(StagingFolderTest, InstallReplacesAtOnceAndLeavesNothing) {
  testing::TemporaryDirectory directory;
  directory.Write("kernels/6.1/vmlinuz", std::string("old"));
  {
    auto staging = StagingFolder::Make(directory.path());
    ASSERT_TRUE(staging.ok()) << staging.status();
    const std::string name = staging->path().substr(directory.path().size() + 1);
    directory.Write(name + "/kernel/vmlinux", std::string("new"));
    ASSERT_TRUE(staging->Install(staging->path() + "/kernel", "6.1").ok());
  }
  EXPECT_TRUE(fs::exists(directory.path() + "/kernels/6.1/vmlinux"));
  EXPECT_FALSE(fs::exists(directory.path() + "/kernels/6.1/vmlinuz"));
  const fs::directory_iterator begin(directory.path() + "/kernels");
  EXPECT_EQ(std::distance(begin, fs::directory_iterator()), 1);
}

TEST(StoreLockTest, RemovesWhatAKilledProcessLeft) {
  testing::TemporaryDirectory directory;
  directory.Write("kernels/.staging-dead/root/x", std::string("half"));
  auto lock = TakeStoreLock(directory.path(), [] { FAIL() << "nobody holds it"; });
  ASSERT_TRUE(lock.ok()) << lock.status();
  EXPECT_FALSE(fs::exists(directory.path() + "/kernels/.staging-dead"));
}

}  // namespace
}  // namespace stasis
