#include "vmm/boot/discovery.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "vmm/boot/testing/test_images.h"

namespace stasis {
namespace {

using ::testing::HasSubstr;

constexpr char kNeeded[] =
    "CONFIG_64BIT=y\nCONFIG_VIRTIO_MMIO=m\nCONFIG_VIRTIO_CONSOLE=m\nCONFIG_BLK_DEV_INITRD=y\n"
    "CONFIG_BINFMT_ELF=y\nCONFIG_PROC_FS=y\nCONFIG_SYSFS=y\nCONFIG_TMPFS=y\nCONFIG_DEVTMPFS=y\n"
    "CONFIG_SERIAL_8250_CONSOLE=y\nCONFIG_CGROUPS=y\nCONFIG_CPUSETS=y\nCONFIG_SMP=y\n"
    "CONFIG_KVM_GUEST=y\nCONFIG_VIRTIO_BLK=m\n";

KernelConfig With(const std::string& lines) {
  return KernelConfig(absl::StrCat(kNeeded, lines), "IKCONFIG of vmlinux");
}

DiscoveryChoice Choose(const std::string& lines, Discovery requested) {
  const KernelConfig config = With(lines);
  auto choice = ChooseDiscovery(&config, requested);
  EXPECT_TRUE(choice.ok()) << choice.status();
  return choice.ok() ? *choice : DiscoveryChoice();
}

TEST(DiscoveryTest, AutoPrefersAcpiThenCmdlineThenFdt) {
  const std::string acpi = "CONFIG_ACPI=y\n";
  const std::string cmdline = "CONFIG_VIRTIO_MMIO_CMDLINE_DEVICES=y\n";
  const std::string fdt = "CONFIG_OF=y\nCONFIG_OF_EARLY_FLATTREE=y\n";
  EXPECT_EQ(Choose(acpi + cmdline + fdt, Discovery::kAuto).discovery, Discovery::kAcpi);
  EXPECT_EQ(Choose(cmdline + fdt, Discovery::kAuto).discovery, Discovery::kCmdline);
  EXPECT_EQ(Choose(fdt, Discovery::kAuto).discovery, Discovery::kFdt);
}

TEST(DiscoveryTest, TheReasonNamesTheOptionAndWhereItWasRead) {
  const auto choice = Choose("CONFIG_VIRTIO_MMIO_CMDLINE_DEVICES=y\n", Discovery::kAuto);
  EXPECT_EQ(choice.reason,
            "discovery cmdline: CONFIG_VIRTIO_MMIO_CMDLINE_DEVICES=y and no CONFIG_ACPI in "
            "IKCONFIG of vmlinux");
}

TEST(DiscoveryTest, WithoutAConfigurationAutoIsAcpiAndSaysSo) {
  auto choice = ChooseDiscovery(nullptr, Discovery::kAuto);
  ASSERT_TRUE(choice.ok());
  EXPECT_EQ(choice->discovery, Discovery::kAcpi);
  EXPECT_THAT(choice->reason, HasSubstr("configuration is not known"));
  EXPECT_TRUE(choice->missing.empty());
}

TEST(DiscoveryTest, WithoutAConfigurationARequestIsFollowed) {
  auto choice = ChooseDiscovery(nullptr, Discovery::kFdt);
  ASSERT_TRUE(choice.ok());
  EXPECT_EQ(choice->discovery, Discovery::kFdt);
}

TEST(DiscoveryTest, ARequestThatTheKernelContradictsNamesTheOption) {
  const KernelConfig config = With("CONFIG_ACPI=y\nCONFIG_OF=y\n");
  const auto cmdline = ChooseDiscovery(&config, Discovery::kCmdline).status();
  EXPECT_EQ(cmdline.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(cmdline.message()), HasSubstr("CONFIG_VIRTIO_MMIO_CMDLINE_DEVICES=y"));
  EXPECT_THAT(std::string(ChooseDiscovery(&config, Discovery::kFdt).status().message()),
              HasSubstr("CONFIG_OF_EARLY_FLATTREE=y"));
  const KernelConfig no_acpi = With("");
  EXPECT_THAT(std::string(ChooseDiscovery(&no_acpi, Discovery::kAcpi).status().message()),
              HasSubstr("CONFIG_ACPI=y"));
}

TEST(DiscoveryTest, AKernelWithNoWayAtAllIsRefusedWithAllOptions) {
  const KernelConfig config = With("");
  const auto status = ChooseDiscovery(&config, Discovery::kAuto).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("CONFIG_ACPI"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("CONFIG_OF"));
}

TEST(DiscoveryTest, MissingOptionsAreNamedAndModulesCountAsThere) {
  const KernelConfig config("CONFIG_ACPI=y\nCONFIG_64BIT=y\nCONFIG_VIRTIO_MMIO=m\n", "x");
  auto choice = ChooseDiscovery(&config, Discovery::kAuto);
  ASSERT_TRUE(choice.ok()) << choice.status();
  EXPECT_THAT(choice->MissingRequired(), HasSubstr("CONFIG_VIRTIO_CONSOLE"));
  EXPECT_THAT(choice->MissingRequired(), HasSubstr("CONFIG_BLK_DEV_INITRD"));
  EXPECT_EQ(choice->MissingRequired().find("CONFIG_VIRTIO_MMIO"), std::string::npos);
  EXPECT_EQ(choice->MissingRequired().find("CONFIG_DEVTMPFS"), std::string::npos);  // a warning
}

TEST(DiscoveryTest, ACompleteKernelMissesNothing) {
  EXPECT_TRUE(Choose("CONFIG_ACPI=y\n", Discovery::kAuto).missing.empty());
}

TEST(DiscoveryTest, NamesAreParsedBackAndOthersRefused) {
  for (Discovery discovery :
       {Discovery::kAuto, Discovery::kAcpi, Discovery::kCmdline, Discovery::kFdt}) {
    auto parsed = ParseDiscovery(DiscoveryName(discovery));
    ASSERT_TRUE(parsed.ok());
    EXPECT_EQ(*parsed, discovery);
  }
  EXPECT_THAT(std::string(ParseDiscovery("pci").status().message()), HasSubstr("'pci'"));
}

TEST(DiscoveryTest, AnImagesErrorBeginsWithItsPath) {
  testing::TemporaryDirectory directory;
  const auto elf = testing::MakeElf({.config = "CONFIG_IKCONFIG=y\n"});
  auto image = KernelImage::Load(directory.Write("vmlinux", elf), {});
  ASSERT_TRUE(image.ok()) << image.status();
  EXPECT_THAT(std::string(ChooseDiscovery(*image, Discovery::kAcpi).status().message()),
              HasSubstr(absl::StrCat("kernel ", directory.path(), "/vmlinux: discovery acpi")));
}

}  // namespace
}  // namespace stasis
