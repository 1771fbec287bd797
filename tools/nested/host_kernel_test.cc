#include "tools/nested/host_kernel.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "absl/strings/match.h"

namespace stasis::nested {
namespace {

namespace fs = std::filesystem;

constexpr char kAllBuiltIn[] =
    "CONFIG_VIRTIO_PCI=y\nCONFIG_VIRTIO_CONSOLE=y\nCONFIG_NET_9P_VIRTIO=y\nCONFIG_9P_FS=y\n"
    "CONFIG_OVERLAY_FS=y\n";

class HostKernelTest : public ::testing::Test {
 protected:
  HostKernelTest() : cache_(fs::path(testing::TempDir()) / Name()) { fs::remove_all(cache_); }
  ~HostKernelTest() override { fs::remove_all(cache_); }

  static std::string Name() {
    return testing::UnitTest::GetInstance()->current_test_info()->name();
  }

  std::string Add(const std::string& release, const std::string& config, const std::string& dep) {
    const fs::path root = cache_ / release;
    const fs::path tree = root / "lib/modules" / release;
    fs::create_directories(tree);
    std::ofstream(root / "vmlinuz") << "image";
    std::ofstream(root / "config") << config;
    std::ofstream(tree / "modules.dep") << dep;
    return root.string();
  }

  const fs::path cache_;
};

TEST_F(HostKernelTest, DependenciesAreLoadedBeforeWhatNeedsThemAndOnce) {
  const std::string root =
      Add("6.1.0-x", kAllBuiltIn + std::string("CONFIG_KVM_AMD=m\n"),
          "kernel/kvm-amd.ko: kernel/ccp.ko kernel/kvm.ko kernel/irqbypass.ko\n"
          "kernel/kvm.ko: kernel/irqbypass.ko\n");

  const auto kernel = ReadHostKernel(root);

  ASSERT_TRUE(kernel.ok()) << kernel.status();
  const std::string tree = root + "/lib/modules/6.1.0-x/kernel/";
  EXPECT_EQ(kernel->modules, (std::vector<std::string>{tree + "irqbypass.ko", tree + "kvm.ko",
                                                       tree + "ccp.ko", tree + "kvm-amd.ko"}));
  EXPECT_EQ(kernel->release, "6.1.0-x");
}

TEST_F(HostKernelTest, CompressedModulesAreFoundByTheirName) {
  const std::string root =
      Add("6.12-x", kAllBuiltIn + std::string("CONFIG_KVM_AMD=m\n"), "kernel/kvm-amd.ko.xz:\n");

  const auto kernel = ReadHostKernel(root);

  ASSERT_TRUE(kernel.ok()) << kernel.status();
  ASSERT_EQ(kernel->modules.size(), 1u);
  EXPECT_TRUE(absl::EndsWith(kernel->modules[0], "kvm-amd.ko.xz"));
}

TEST_F(HostKernelTest, KernelWithoutWhatTheLaneNeedsIsRefusedNamingIt) {
  const std::string root = Add("cloud", "CONFIG_VIRTIO_PCI=y\nCONFIG_VIRTIO_CONSOLE=y\n", "");

  const auto kernel = ReadHostKernel(root);

  ASSERT_TRUE(absl::IsNotFound(kernel.status()));
  EXPECT_TRUE(absl::StrContains(kernel.status().message(),
                                "CONFIG_NET_9P_VIRTIO, CONFIG_9P_FS, CONFIG_OVERLAY_FS, "
                                "CONFIG_KVM_AMD"))
      << kernel.status();
}

TEST_F(HostKernelTest, MeasuredReleaseIsPreferredToANewerOne) {
  Add("6.12.9", kAllBuiltIn + std::string("CONFIG_KVM_AMD=y\n"), "");
  Add("6.1.0-56-amd64", kAllBuiltIn + std::string("CONFIG_KVM_AMD=y\n"), "");
  Add("7.2.1", "", "");

  const auto kernel = FindHostKernel("", cache_.string());

  ASSERT_TRUE(kernel.ok()) << kernel.status();
  EXPECT_EQ(kernel->release, "6.1.0-56-amd64");
  EXPECT_EQ(FindHostKernel("6.12.9", cache_.string())->release, "6.12.9");
}

TEST_F(HostKernelTest, CacheWithoutAUsableKernelSaysHowToGetOne) {
  Add("7.2.1-cloud", "", "");

  const auto kernel = FindHostKernel("", cache_.string());

  ASSERT_TRUE(absl::IsNotFound(kernel.status()));
  EXPECT_TRUE(absl::StrContains(kernel.status().message(), "stasis kernel fetch"));
  EXPECT_TRUE(absl::StrContains(kernel.status().message(), "7.2.1-cloud"));
}

}  // namespace
}  // namespace stasis::nested
