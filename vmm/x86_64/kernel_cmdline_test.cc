#include "vmm/x86_64/kernel_cmdline.h"

#include <gtest/gtest.h>

#include "vmm/x86_64/test_machine.h"

namespace stasis {
namespace {

TEST(KernelCmdlineTest, OneWordPerVirtioDeviceInTheOrderOfTheNodes) {
  const absl::StatusOr<std::string> words = VirtioMmioWords(TestTree("2c", /*virtio=*/2));
  ASSERT_TRUE(words.ok()) << words.status();
  EXPECT_EQ(*words, "virtio_mmio.device=4K@0xd0000000:16 virtio_mmio.device=4K@0xd0001000:17");
}

TEST(KernelCmdlineTest, NoDeviceNoWord) { EXPECT_EQ(*VirtioMmioWords(TestTree("1c", 0)), ""); }

TEST(KernelCmdlineTest, ADeviceWithoutInterruptIsRefused) {
  PlatformBuilder builder = TestBuilder("1c");
  ASSERT_TRUE(builder.AddMmioDevice({"virtio_mmio", "virtio,mmio", 0x200, false}).ok());
  EXPECT_FALSE(VirtioMmioWords(*builder.Finish()).ok());
}

}  // namespace
}  // namespace stasis
