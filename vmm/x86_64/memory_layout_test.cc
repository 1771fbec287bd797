#include "vmm/x86_64/memory_layout.h"

#include <gtest/gtest.h>

#include "vmm/x86_64/platform_layout.h"

namespace stasis {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;
constexpr uint64_t kGiB = uint64_t{1} << 30;

TEST(X86MemoryLayoutTest, SmallMachineIsOneRegionFromZero) {
  const auto regions = X86MemoryLayout(512 * kMiB, 1);
  ASSERT_TRUE(regions.ok()) << regions.status();
  ASSERT_EQ(regions->size(), 1u);
  EXPECT_EQ((*regions)[0].base, GuestAddress(0));
  EXPECT_EQ((*regions)[0].size, 512 * kMiB);
}

TEST(X86MemoryLayoutTest, MemoryBeyondTheGapGoesOnAtFourGib) {
  const auto regions = X86MemoryLayout(6 * kGiB, 1);
  ASSERT_TRUE(regions.ok()) << regions.status();
  ASSERT_EQ(regions->size(), 2u);
  EXPECT_EQ((*regions)[0].size, kX86MmioGapBase);
  EXPECT_EQ((*regions)[1].base, GuestAddress(4 * kGiB));
  EXPECT_EQ((*regions)[0].size + (*regions)[1].size, 6 * kGiB);
}

TEST(X86MemoryLayoutTest, NodeThatReachesIntoTheGapIsSplitAndTheLastTakesTheRemainder) {
  const auto regions = X86MemoryLayout(4 * kGiB + kMiB, 3);
  ASSERT_TRUE(regions.ok()) << regions.status();
  ASSERT_EQ(regions->size(), 4u);
  EXPECT_EQ((*regions)[2].numa_node, 2u);
  EXPECT_EQ((*regions)[2].base + (*regions)[2].size, GuestAddress(kX86MmioGapBase));
  EXPECT_EQ((*regions)[3].numa_node, 2u);
  EXPECT_EQ((*regions)[3].base, GuestAddress(kX86MmioGapEnd));
  uint64_t sum = 0;
  for (const MemoryRegion& region : *regions) sum += region.size;
  EXPECT_EQ(sum, 4 * kGiB + kMiB);
}

TEST(X86MemoryLayoutTest, TooLittleMemoryPerNodeSaysHowMuchIsNeeded) {
  const auto regions = X86MemoryLayout(32 * kMiB, 4);
  ASSERT_FALSE(regions.ok());
  EXPECT_NE(regions.status().message().find("--memory 64M or more"), absl::string_view::npos);
}

}  // namespace
}  // namespace stasis
