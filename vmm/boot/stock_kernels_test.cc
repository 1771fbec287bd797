// Real kernels, when the cache or /boot has some: what the made-up images cannot prove.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <iostream>

#include "vmm/boot/discovery.h"
#include "vmm/boot/kernel_image.h"
#include "vmm/boot/testing/test_images.h"
#include "vmm/boot/x86_64/linux_loader.h"

namespace stasis {
namespace {

namespace fs = std::filesystem;

std::string CacheDirectory() {
  if (const char* cache = getenv("STASIS_CACHE"); cache != nullptr && *cache != 0) return cache;
  const char* home = getenv("HOME");
  return std::string(home != nullptr ? home : "/root") + "/.cache/stasis";
}

std::vector<fs::path> Kernels() {
  std::vector<fs::path> kernels;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(CacheDirectory() + "/kernels", ignored)) {
    for (const char* name : {"vmlinuz", "vmlinux"}) {
      if (fs::exists(entry.path() / name)) kernels.push_back(entry.path() / name);
    }
  }
  return kernels;
}

TEST(StockKernelsTest, EachUnpacksToAKernelWithItsOwnNameInIt) {
  if (Kernels().empty()) GTEST_SKIP() << "no kernels in " << CacheDirectory();
  for (const fs::path& path : Kernels()) {
    auto image = KernelImage::Load(path, {});
    ASSERT_TRUE(image.ok()) << image.status();
    std::cout << path << ": " << CompressionName(image->compression()) << ", release "
              << image->release() << ", " << std::hex << image->load_begin().value() << " to "
              << image->load_end().value() << ", init_size " << image->init_size() << ", entry "
              << image->entry().value() << std::dec << "\n";
    EXPECT_EQ(image->load_begin(), GuestAddress(0x1000000));
    EXPECT_FALSE(image->release().empty());
    auto choice = ChooseDiscovery(*image, Discovery::kAuto);
    ASSERT_TRUE(choice.ok()) << choice.status();
    std::cout << choice->reason << "\n";
    EXPECT_EQ(choice->MissingRequired(), "");
  }
}

TEST(StockKernelsTest, EachLoadsBothWaysInto512MiB) {
  if (Kernels().empty()) GTEST_SKIP() << "no kernels in " << CacheDirectory();
  for (const fs::path& path : Kernels()) {
    for (bool as_bzimage : {false, true}) {
      auto image = KernelImage::Load(path, {.load_as_bzimage = as_bzimage});
      ASSERT_TRUE(image.ok()) << image.status();
      auto memory = GuestMemory::Create({{GuestAddress(0), 512 << 20, 0, nullptr}});
      ASSERT_TRUE(memory.ok()) << memory.status();
      BootParams params;
      params.e820 = StandardE820(**memory);
      auto entry = LoadLinux(*image, **memory, params);
      ASSERT_TRUE(entry.ok()) << entry.status();
      EXPECT_GE(entry->rip, entry->kernel_begin);
      EXPECT_LT(entry->rip, entry->kernel_end);
    }
  }
}

// The setup header names the release, and so does the banner inside the unpacked image.
TEST(StockKernelsTest, TheUnpackedElfIsAKernelOfTheSameRelease) {
  if (Kernels().empty()) GTEST_SKIP() << "no kernels in " << CacheDirectory();
  for (const fs::path& path : Kernels()) {
    testing::TemporaryDirectory directory;
    auto packed = KernelImage::Load(path, {.cache_directory = directory.path()});
    ASSERT_TRUE(packed.ok()) << packed.status();
    if (packed->kind() == KernelKind::kElf) continue;  // a vmlinux that a build kept
    for (const auto& entry : fs::directory_iterator(directory.path() + "/unpacked")) {
      if (!entry.is_regular_file()) continue;
      auto unpacked = KernelImage::Load(entry.path(), {});
      ASSERT_TRUE(unpacked.ok()) << unpacked.status();
      EXPECT_EQ(unpacked->kind(), KernelKind::kElf);
      EXPECT_EQ(unpacked->release(), packed->release());
      EXPECT_EQ(unpacked->entry(), packed->entry());
    }
  }
}

// What lies behind the code that the header counts is a signature, and may be cut.
TEST(StockKernelsTest, ACutKernelIsNeverTakenForWhole) {
  for (const fs::path& path : Kernels()) {
    testing::TemporaryDirectory directory;
    const fs::path copy = directory.path() + "/vmlinuz";
    fs::copy_file(path, copy);
    auto image = KernelImage::Load(path, {.load_as_bzimage = true});
    ASSERT_TRUE(image.ok()) << image.status();
    if (image->kind() == KernelKind::kElf) continue;  // cutting its sections is no harm
    const setup_header header = image->header();
    uintmax_t size = (header.setup_sects + 1) * 512 + uintmax_t{header.syssize} * 16 - 16;
    for (; size > 0; size = size * 2 / 3) {
      fs::resize_file(copy, size);
      EXPECT_FALSE(KernelImage::Load(copy, {}).ok()) << path << " cut at " << size;
    }
  }
  if (Kernels().empty()) GTEST_SKIP() << "no kernels in " << CacheDirectory();
}

}  // namespace
}  // namespace stasis
