#include "vmm/boot/kernel_config.h"

#include <gtest/gtest.h>

namespace stasis {
namespace {

KernelConfig Sample() {
  return KernelConfig(
      "CONFIG_SMP=y\n"
      "CONFIG_VIRTIO_MMIO=m\n"
      "# CONFIG_OF is not set\n"
      "CONFIG_LOCALVERSION=\"-tiny\"\n"
      "CONFIG_NR_CPUS=64",
      "/boot/config-6.12");
}

TEST(KernelConfigTest, FirstAndLastLineAreFound) {
  EXPECT_EQ(Sample().Lookup("CONFIG_SMP"), "y");
  EXPECT_EQ(Sample().Lookup("CONFIG_NR_CPUS"), "64");
}

TEST(KernelConfigTest, PrefixMayBeLeftOut) {
  EXPECT_EQ(Sample().Lookup("VIRTIO_MMIO"), "m");
  EXPECT_TRUE(Sample().IsEnabled("VIRTIO_MMIO"));
  EXPECT_FALSE(Sample().IsBuiltIn("VIRTIO_MMIO"));
}

TEST(KernelConfigTest, UnsetAndUnknownAreN) {
  EXPECT_EQ(Sample().Lookup("CONFIG_OF"), "n");
  EXPECT_EQ(Sample().Lookup("CONFIG_NEVER_HEARD_OF"), "n");
  EXPECT_FALSE(Sample().IsEnabled("CONFIG_OF"));
}

TEST(KernelConfigTest, StringsComeWithoutQuotes) {
  EXPECT_EQ(Sample().Lookup("CONFIG_LOCALVERSION"), "-tiny");
}

TEST(KernelConfigTest, ANameThatIsThePrefixOfAnotherIsNotFound) {
  EXPECT_EQ(Sample().Lookup("CONFIG_NR"), "n");
  EXPECT_EQ(Sample().Lookup("CONFIG_VIRTIO"), "n");
}

TEST(KernelConfigTest, EmptyTextKnowsNothing) {
  EXPECT_EQ(KernelConfig("", "nowhere").Lookup("CONFIG_SMP"), "n");
}

}  // namespace
}  // namespace stasis
