#include "vmm/memory/guest_memory.h"

#include <gtest/gtest.h>

#include <limits>

namespace stasis {
namespace {

constexpr uint64_t kPage = 4096;

std::unique_ptr<GuestMemory> TwoRegions() {
  auto memory = GuestMemory::Create({{.base = GuestAddress(0), .size = 4 * kPage},
                                     {.base = GuestAddress(16 * kPage), .size = kPage}});
  EXPECT_TRUE(memory.ok()) << memory.status();
  return *std::move(memory);
}

TEST(GuestMemoryTest, StoredValueIsLoadedBack) {
  auto memory = TwoRegions();
  ASSERT_TRUE(memory->Store<uint32_t>(GuestAddress(16 * kPage + 8), 0x12345678));
  EXPECT_EQ(memory->Load<uint32_t>(GuestAddress(16 * kPage + 8)), 0x12345678u);
}

TEST(GuestMemoryTest, AccessAcrossARegionsEndIsRefusedAndCopiesNothing) {
  auto memory = TwoRegions();
  uint64_t value = 7;
  EXPECT_FALSE(memory->Read(GuestAddress(4 * kPage - 4), &value, sizeof(value)));
  EXPECT_EQ(value, 7u);
  EXPECT_FALSE(memory->Write(GuestAddress(4 * kPage - 4), &value, sizeof(value)));
  EXPECT_EQ(memory->Load<uint32_t>(GuestAddress(4 * kPage - 4)), 0u);
}

TEST(GuestMemoryTest, LengthThatOverflowsTheAddressIsRefused) {
  auto memory = TwoRegions();
  EXPECT_TRUE(memory->Slice(GuestAddress(8), std::numeric_limits<uint64_t>::max()).empty());
  EXPECT_FALSE(memory->Contains(GuestAddress(std::numeric_limits<uint64_t>::max() - 3), 8));
}

TEST(GuestMemoryTest, HoleBetweenRegionsIsNotMemory) {
  auto memory = TwoRegions();
  EXPECT_FALSE(memory->Contains(GuestAddress(4 * kPage), 1));
  EXPECT_FALSE(memory->Load<uint8_t>(GuestAddress(15 * kPage)).has_value());
}

TEST(GuestMemoryTest, MisalignedAtomicAccessIsRefused) {
  auto memory = TwoRegions();
  EXPECT_FALSE(memory->LoadAtomic<uint16_t>(GuestAddress(1)).has_value());
  EXPECT_FALSE(memory->StoreAtomic<uint32_t>(GuestAddress(2), 1));
}

TEST(GuestMemoryTest, OnlyTouchedPagesTakeHostMemory) {
  auto memory = GuestMemory::Create({{.base = GuestAddress(0), .size = uint64_t{8} << 30}});
  ASSERT_TRUE(memory.ok()) << memory.status();
  EXPECT_EQ((*memory)->TouchedBytes(), 0u);
  ASSERT_TRUE((*memory)->Store<uint8_t>(GuestAddress(uint64_t{7} << 30), 1));
  EXPECT_EQ((*memory)->TouchedBytes(), kPage);
}

TEST(GuestMemoryTest, OverlappingUnalignedAndEmptyLayoutsAreRefused) {
  EXPECT_FALSE(GuestMemory::Create({}).ok());
  EXPECT_FALSE(GuestMemory::Create({{.base = GuestAddress(0), .size = 100}}).ok());
  EXPECT_FALSE(GuestMemory::Create({{.base = GuestAddress(0), .size = 2 * kPage},
                                    {.base = GuestAddress(kPage), .size = kPage}})
                   .ok());
}

}  // namespace
}  // namespace stasis
