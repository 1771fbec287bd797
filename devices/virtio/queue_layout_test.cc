#include "devices/virtio/queue_layout.h"

#include <gtest/gtest.h>

#include <memory>
#include <tuple>

#include "devices/virtio/descriptor.h"

namespace stasis {
namespace {

constexpr uint64_t kRam = 0x10000;
constexpr uint32_t kSize = 8;

class QueueLayoutTest : public testing::Test {
 protected:
  QueueLayoutTest() {
    // Two adjacent regions, as two NUMA nodes have.
    auto memory = GuestMemory::Create({{.base = GuestAddress(0), .size = kRam / 2},
                                       {.base = GuestAddress(kRam / 2), .size = kRam / 2}});
    EXPECT_TRUE(memory.ok()) << memory.status();
    memory_ = *std::move(memory);
  }

  void Put(uint16_t index, const Descriptor& descriptor) {
    ASSERT_TRUE(memory_->Store(layout_.descriptors + 16 * index, descriptor));
  }
  void PutTable(uint64_t table, uint16_t index, const Descriptor& descriptor) {
    ASSERT_TRUE(memory_->Store(GuestAddress(table + 16 * index), descriptor));
  }
  // The message of the refusal, or "walked".
  std::string Refusal(uint16_t head, bool indirect = true) {
    absl::StatusOr<DescriptorChain> chain = WalkChain(*memory_, layout_, head, indirect);
    if (!chain.ok()) return std::string(chain.status().message());
    chain->Abandon();
    return "walked";
  }
  void ExpectRefusal(uint16_t head, const std::string& part) {
    EXPECT_NE(Refusal(head).find(part), std::string::npos) << Refusal(head);
  }

  std::unique_ptr<GuestMemory> memory_;
  QueueLayout layout_{.size = kSize,
                      .descriptors = GuestAddress(0x1000),
                      .avail = GuestAddress(0x1100),
                      .used = GuestAddress(0x1200)};
};

TEST_F(QueueLayoutTest, T7_SizesThatAreNoPowerOfTwoUpToTheMaximumAreRefused) {
  for (uint32_t size : {0u, 3u, 6u, 256u, 65536u, 0x80000000u, 0xffffffffu}) {
    layout_.size = size;
    EXPECT_FALSE(ValidateLayout(*memory_, layout_, 128).ok()) << size;
  }
  layout_.size = 128;
  EXPECT_TRUE(ValidateLayout(*memory_, layout_, 128).ok());
}

TEST_F(QueueLayoutTest, Q1_MisalignedRingsAreRefused) {
  for (auto [descriptors, avail, used] :
       {std::tuple(0x1008, 0x1100, 0x1200), {0x1000, 0x1101, 0x1200}, {0x1000, 0x1100, 0x1202}}) {
    layout_.descriptors = GuestAddress(descriptors);
    layout_.avail = GuestAddress(avail);
    layout_.used = GuestAddress(used);
    const absl::Status status = ValidateLayout(*memory_, layout_, 128);
    EXPECT_NE(status.message().find("not aligned"), absl::string_view::npos) << status;
  }
}

TEST_F(QueueLayoutTest, Q1_RingsOutsideOfMemoryAreRefused) {
  for (uint64_t bad : {kRam, kRam - 16, uint64_t{0xfffffffffffffff0}}) {
    QueueLayout layout = layout_;
    layout.descriptors = GuestAddress(bad);
    EXPECT_FALSE(ValidateLayout(*memory_, layout, 128).ok()) << bad;
    layout = layout_;
    layout.avail = GuestAddress(bad);
    EXPECT_FALSE(ValidateLayout(*memory_, layout, 128).ok()) << bad;
    layout = layout_;
    layout.used = GuestAddress(bad);
    EXPECT_FALSE(ValidateLayout(*memory_, layout, 128).ok()) << bad;
  }
}

TEST_F(QueueLayoutTest, ChainOfReadableThenWritableIsWalkedInOrder) {
  Put(0, {.address = 0x2000, .length = 16, .flags = kDescriptorNext, .next = 5});
  Put(5, {.address = 0x3000, .length = 32, .flags = kDescriptorNext | kDescriptorWrite, .next = 2});
  Put(2, {.address = 0x4000, .length = 1, .flags = kDescriptorWrite});
  absl::StatusOr<DescriptorChain> chain = WalkChain(*memory_, layout_, 0, true);
  ASSERT_TRUE(chain.ok()) << chain.status();
  EXPECT_EQ(chain->head(), 0);
  EXPECT_EQ(chain->readable_bytes(), 16u);
  EXPECT_EQ(chain->writable_bytes(), 33u);
  EXPECT_EQ(chain->writable()[1].address, GuestAddress(0x4000));
  chain->Abandon();
}

TEST_F(QueueLayoutTest, BufferAcrossAdjacentRegionsIsSplitAndCopiedWhole) {
  Put(0, {.address = kRam / 2 - 3, .length = 8, .flags = kDescriptorWrite});
  absl::StatusOr<DescriptorChain> chain = WalkChain(*memory_, layout_, 0, true);
  ASSERT_TRUE(chain.ok()) << chain.status();
  EXPECT_EQ(chain->writable().size(), 2u);
  EXPECT_EQ(chain->Write(1, "abcdefgh", 8), 7u);
  EXPECT_EQ(memory_->Load<uint8_t>(GuestAddress(kRam / 2 - 2)), 'a');
  EXPECT_EQ(memory_->Load<uint8_t>(GuestAddress(kRam / 2 + 4)), 'g');
  EXPECT_EQ(chain->WritableIov(1, 8).size(), 2u);
  EXPECT_EQ(chain->WritableIov(4, 8).size(), 1u);
  chain->Abandon();
}

TEST_F(QueueLayoutTest, Q1_HeadOrNextOutsideOfTheTableIsRefused) {
  ExpectRefusal(kSize, "descriptor index 8");
  Put(0, {.address = 0x2000, .length = 1, .flags = kDescriptorNext, .next = 0xffff});
  ExpectRefusal(0, "descriptor index 65535");
}

TEST_F(QueueLayoutTest, Q1_ALoopIsRefused) {
  Put(0, {.address = 0x2000, .length = 1, .flags = kDescriptorNext, .next = 1});
  Put(1, {.address = 0x2000, .length = 1, .flags = kDescriptorNext, .next = 0});
  ExpectRefusal(0, "loop");
}

TEST_F(QueueLayoutTest, Q1_AnEmptyDescriptorDoesNotHideALoop) {
  Put(3, {.address = 0x2000, .length = 0, .flags = kDescriptorNext, .next = 3});
  ExpectRefusal(3, "loop");
}

TEST_F(QueueLayoutTest, Q1_BuffersOutsideOfMemoryAndOverflowingOnesAreRefused) {
  for (auto [address, length] : {std::pair<uint64_t, uint32_t>{kRam, 1},
                                 {kRam - 4, 5},
                                 {0xfffffffffffffff8, 16},
                                 {0xffffffffffffffff, 1},
                                 {0x2000, 0xffffffff}}) {
    Put(0, {.address = address, .length = length});
    ExpectRefusal(0, "not in guest memory");
  }
}

TEST_F(QueueLayoutTest, Q1_ReadableAfterWritableIsRefused) {
  Put(0, {.address = 0x2000, .length = 1, .flags = kDescriptorWrite | kDescriptorNext, .next = 1});
  Put(1, {.address = 0x2000, .length = 1});
  ExpectRefusal(0, "readable after device-writable");
}

TEST_F(QueueLayoutTest, Q1_ReadableAfterAnEmptyWritableDescriptorIsRefused) {
  Put(0, {.address = 0x2000, .length = 0, .flags = kDescriptorWrite | kDescriptorNext, .next = 1});
  Put(1, {.address = 0x2000, .length = 16});
  ExpectRefusal(0, "readable after device-writable");
}

TEST_F(QueueLayoutTest, IndirectTableAfterDirectDescriptorsIsWalked) {
  Put(0, {.address = 0x2000, .length = 4, .flags = kDescriptorNext, .next = 1});
  Put(1, {.address = 0x5000, .length = 32, .flags = kDescriptorIndirect});
  PutTable(0x5000, 0, {.address = 0x2100, .length = 4, .flags = kDescriptorNext, .next = 1});
  PutTable(0x5000, 1, {.address = 0x2200, .length = 8, .flags = kDescriptorWrite});
  absl::StatusOr<DescriptorChain> chain = WalkChain(*memory_, layout_, 0, true);
  ASSERT_TRUE(chain.ok()) << chain.status();
  EXPECT_EQ(chain->readable_bytes(), 8u);
  EXPECT_EQ(chain->writable_bytes(), 8u);
  chain->Abandon();
}

TEST_F(QueueLayoutTest, Q1_IndirectWithoutNegotiationIsRefused) {
  Put(0, {.address = 0x5000, .length = 16, .flags = kDescriptorIndirect});
  EXPECT_NE(Refusal(0, /*indirect=*/false).find("not negotiated"), std::string::npos);
}

TEST_F(QueueLayoutTest, Q1_IndirectTablesOfWrongLengthAreRefused) {
  for (uint32_t length : {0u, 1u, 15u, 17u, 0xfffffff0u}) {
    Put(0, {.address = 0x5000, .length = length, .flags = kDescriptorIndirect});
    ExpectRefusal(0, "indirect table of");
  }
}

TEST_F(QueueLayoutTest, Q1_IndirectTableOutsideOfMemoryIsRefused) {
  Put(0, {.address = kRam - 16, .length = 32, .flags = kDescriptorIndirect});
  ExpectRefusal(0, "not in guest memory");
}

TEST_F(QueueLayoutTest, Q1_IndirectWithNextIsRefused) {
  Put(0, {.address = 0x5000, .length = 16, .flags = kDescriptorIndirect | kDescriptorNext});
  ExpectRefusal(0, "INDIRECT with NEXT");
}

TEST_F(QueueLayoutTest, Q1_NestedIndirectTableIsRefused) {
  Put(0, {.address = 0x5000, .length = 16, .flags = kDescriptorIndirect});
  PutTable(0x5000, 0, {.address = 0x5000, .length = 16, .flags = kDescriptorIndirect});
  ExpectRefusal(0, "nested");
}

TEST_F(QueueLayoutTest, Q1_IndirectNextBeyondTheTableIsRefused) {
  Put(0, {.address = 0x5000, .length = 16, .flags = kDescriptorIndirect});
  PutTable(0x5000, 0, {.address = 0x2000, .length = 1, .flags = kDescriptorNext, .next = 1});
  ExpectRefusal(0, "indirect index 1 of 1");
}

TEST_F(QueueLayoutTest, Q1_LoopInsideAnIndirectTableIsRefused) {
  Put(0, {.address = 0x5000, .length = 32, .flags = kDescriptorIndirect});
  PutTable(0x5000, 0, {.address = 0x2000, .length = 1, .flags = kDescriptorNext, .next = 0});
  ExpectRefusal(0, "loop");
}

TEST_F(QueueLayoutTest, Q1_IndirectChainLongerThanTheQueueIsRefused) {
  Put(0, {.address = 0x5000, .length = 16 * (kSize + 1), .flags = kDescriptorIndirect});
  for (uint16_t i = 0; i <= kSize; ++i) {
    PutTable(0x5000, i,
             {.address = 0x2000,
              .length = 1,
              .flags = i == kSize ? uint16_t{0} : kDescriptorNext,
              .next = static_cast<uint16_t>(i + 1)});
  }
  ExpectRefusal(0, "longer than the queue");
}

TEST_F(QueueLayoutTest, Q6_AChangedDescriptorAfterTheWalkDoesNotChangeTheChain) {
  Put(0, {.address = 0x2000, .length = 16});
  absl::StatusOr<DescriptorChain> chain = WalkChain(*memory_, layout_, 0, true);
  ASSERT_TRUE(chain.ok()) << chain.status();
  Put(0, {.address = 0xffffffff00000000, .length = 0xffffffff});
  EXPECT_EQ(chain->readable_bytes(), 16u);
  uint8_t bytes[64];
  EXPECT_EQ(chain->Read(0, bytes, sizeof(bytes)), 16u);
  chain->Abandon();
}

}  // namespace
}  // namespace stasis
