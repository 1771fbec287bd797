#include "devices/virtio/virtqueue.h"

#include <gtest/gtest.h>

#include <memory>
#include <thread>
#include <tuple>

#include "devices/virtio/features.h"
#include "devices/virtio/testing/driver_queue.h"
#include "devices/virtio/testing/fake_interrupt_line.h"

namespace stasis {
namespace {

constexpr uint64_t kRam = 0x100000;
constexpr uint16_t kSize = 8;

// Both sides of one queue, after DRIVER_OK.
struct Fixture {
  explicit Fixture(uint64_t features = kVirtioFeatureIndirectDesc)
      : memory(*GuestMemory::Create({{.base = GuestAddress(0), .size = kRam}})),
        heap(memory.get(), GuestAddress(0x1000)),
        driver(&heap, kSize, features),
        queue(memory.get(), driver.layout(), features, "queue 0", signals, counters) {
    for (uint32_t status : {0x1, 0x3, 0xb, 0xf}) {
      signals->ladder().Write(status, [] { return ""; });
    }
  }

  // Serves all that is there, writing nothing; returns how many chains that were.
  int Serve() {
    int served = 0;
    while (std::optional<DescriptorChain> chain = queue.Pop()) {
      queue.Return(*std::move(chain), 0);
      ++served;
    }
    queue.PublishUsed();
    return served;
  }

  std::unique_ptr<GuestMemory> memory;
  DriverHeap heap;
  DriverQueue driver;
  FakeInterruptLine line;
  std::shared_ptr<DriverSignals> signals = std::make_shared<DriverSignals>("test", &line);
  std::shared_ptr<QueueCounters> counters = std::make_shared<QueueCounters>();
  Virtqueue queue;
};

TEST(VirtqueueTest, EmptyQueueGivesNothing) {
  Fixture f;
  EXPECT_FALSE(f.queue.Pop().has_value());
  EXPECT_FALSE(f.queue.poisoned());
}

TEST(VirtqueueTest, BytesGoThroughAChainAndItsHeadComesBack) {
  Fixture f;
  const GuestAddress out = f.heap.Put("hello");
  const GuestAddress in = f.heap.Allocate(8);
  const uint16_t head = f.driver.Add({{out, 5, false}, {in, 8, true}});
  std::optional<DescriptorChain> chain = f.queue.Pop();
  ASSERT_TRUE(chain.has_value());
  char bytes[5];
  EXPECT_EQ(chain->Read(0, bytes, 5), 5u);
  EXPECT_EQ(chain->Write(0, bytes, 5), 5u);
  f.queue.Return(*std::move(chain), 5);
  EXPECT_FALSE(f.driver.TakeUsed().has_value()) << "not published yet";
  f.queue.PublishUsed();
  std::optional<UsedElement> used = f.driver.TakeUsed();
  ASSERT_TRUE(used.has_value());
  EXPECT_EQ(used->head, head);
  EXPECT_EQ(f.driver.Written(*used), "hello");
}

TEST(VirtqueueTest, IndicesWrapAroundSixteenBits) {
  Fixture f;
  for (int i = 0; i < 70000; ++i) {
    f.driver.Add({{GuestAddress(0x800), 1, false}});
    ASSERT_EQ(f.Serve(), 1) << i;
    ASSERT_TRUE(f.driver.TakeUsed().has_value()) << i;
  }
  EXPECT_FALSE(f.queue.poisoned());
  EXPECT_EQ(f.counters->chains_returned.load(), 70000u);
}

TEST(VirtqueueTest, IndirectChainIsServed) {
  Fixture f;
  f.driver.AddIndirect({{f.heap.Put("abc"), 3, false}, {f.heap.Allocate(4), 4, true}});
  std::optional<DescriptorChain> chain = f.queue.Pop();
  ASSERT_TRUE(chain.has_value());
  EXPECT_EQ(chain->readable_bytes(), 3u);
  EXPECT_EQ(chain->writable_bytes(), 4u);
  f.queue.Return(*std::move(chain), 0);
}

TEST(VirtqueueTest, Q2_AvailIndexTooFarAheadPoisonsTheQueueUntilReset) {
  Fixture f;
  f.driver.SetAvailIndex(kSize + 1);
  EXPECT_FALSE(f.queue.Pop().has_value());
  EXPECT_TRUE(f.queue.poisoned());
  EXPECT_TRUE(f.signals->needs_reset());
  EXPECT_EQ(f.signals->interrupt_status(), kInterruptConfigChanged);
  EXPECT_EQ(f.line.edges(), 1);
  EXPECT_EQ(f.counters->poisonings.load(), 1u);
  // Sticky: a repaired index changes nothing, and nothing is counted or signalled again.
  f.driver.SetAvailIndex(0);
  f.driver.AddReadable("x");
  EXPECT_FALSE(f.queue.Pop().has_value());
  EXPECT_FALSE(f.queue.EnableNotifications());
  EXPECT_EQ(f.counters->poisonings.load(), 1u);
  EXPECT_EQ(f.line.edges(), 1);
}

TEST(VirtqueueTest, Q2_AvailIndexExactlyTheQueueSizeAheadIsFine) {
  Fixture f;
  for (int i = 0; i < kSize; ++i) f.driver.AddReadable("x");
  EXPECT_EQ(f.Serve(), kSize);
  EXPECT_FALSE(f.queue.poisoned());
}

TEST(VirtqueueTest, Q2_AChainThatCannotBeWalkedPoisonsAndTheNextIsNotServed) {
  Fixture f;
  f.driver.SetDescriptor(7, {.address = kRam, .length = 1});
  f.driver.PutAvail(7);
  f.driver.AddReadable("good");
  EXPECT_EQ(f.Serve(), 0);
  EXPECT_TRUE(f.queue.poisoned());
}

TEST(VirtqueueTest, Q2_PoisoningSeenByTheRecheckIsNotLost) {
  Fixture f;
  f.driver.SetAvailIndex(100);
  EXPECT_FALSE(f.queue.EnableNotifications());
  EXPECT_TRUE(f.queue.poisoned());
}

TEST(VirtqueueTest, Q2_AnotherQueueOfAPoisonedDeviceServesNothing) {
  Fixture f;
  DriverQueue other_driver(&f.heap, kSize);
  Virtqueue other(f.memory.get(), other_driver.layout(), 0, "queue 1", f.signals,
                  std::make_shared<QueueCounters>());
  other_driver.AddReadable("x");
  f.driver.SetAvailIndex(100);
  EXPECT_FALSE(f.queue.Pop().has_value());
  EXPECT_FALSE(other.Pop().has_value());
}

TEST(VirtqueueTest, Q2_AChainInHandMayStillBeReturnedAfterPoisoning) {
  Fixture f;
  f.driver.AddReadable("x");
  std::optional<DescriptorChain> chain = f.queue.Pop();
  ASSERT_TRUE(chain.has_value());
  f.driver.SetAvailIndex(100);
  EXPECT_FALSE(f.queue.Pop().has_value());
  f.queue.Return(*std::move(chain), 0);
  f.queue.PublishUsed();
  EXPECT_TRUE(f.driver.TakeUsed().has_value());
}

TEST(VirtqueueTest, Q4_AChainWithoutWritableBytesIsReturnedWithLengthZero) {
  Fixture f;
  f.driver.AddReadable("request");
  std::optional<DescriptorChain> chain = f.queue.Pop();
  ASSERT_TRUE(chain.has_value());
  const size_t written = chain->Write(0, "s", 1);
  f.queue.Return(*std::move(chain), written);
  f.queue.PublishUsed();
  std::optional<UsedElement> used = f.driver.TakeUsed();
  ASSERT_TRUE(used.has_value());
  EXPECT_EQ(used->length, 0u);
}

TEST(VirtqueueTest, Q5_OneInterruptForABatch) {
  Fixture f;
  for (int i = 0; i < 5; ++i) f.driver.AddReadable("x");
  EXPECT_EQ(f.Serve(), 5);
  EXPECT_EQ(f.line.edges(), 1);
  EXPECT_EQ(f.signals->interrupt_status(), kInterruptUsedBuffers);
  f.queue.PublishUsed();
  EXPECT_EQ(f.line.edges(), 1) << "nothing new, no interrupt";
}

TEST(VirtqueueTest, Q5_NoInterruptFlagSuppresses) {
  Fixture f;
  f.driver.SetNoInterrupt(true);
  f.driver.AddReadable("x");
  f.Serve();
  EXPECT_EQ(f.line.edges(), 0);
  EXPECT_EQ(f.counters->interrupts_suppressed.load(), 1u);
  EXPECT_TRUE(f.driver.TakeUsed().has_value());
}

TEST(VirtqueueTest, Q5_EventIdxInterruptsOnlyWhenTheEventIsCrossed) {
  Fixture f(kVirtioFeatureEventIdx);
  f.driver.SetUsedEvent(2);  // after the third
  for (int edges : {0, 0, 1, 0}) {
    const int before = f.line.edges();
    f.driver.AddReadable("x");
    f.Serve();
    EXPECT_EQ(f.line.edges() - before, edges) << f.driver.used_index();
  }
}

TEST(VirtqueueTest, Q5_EventIdxCrossedInsideABatchInterruptsOnce) {
  Fixture f(kVirtioFeatureEventIdx);
  f.driver.SetUsedEvent(2);
  for (int i = 0; i < 6; ++i) f.driver.AddReadable("x");
  f.Serve();
  EXPECT_EQ(f.line.edges(), 1);
}

TEST(VirtqueueTest, Q5_EventIdxIgnoresTheFlag) {
  Fixture f(kVirtioFeatureEventIdx);
  f.driver.SetNoInterrupt(true);
  f.driver.SetUsedEvent(0);
  f.driver.AddReadable("x");
  f.Serve();
  EXPECT_EQ(f.line.edges(), 1);
}

TEST(VirtqueueTest, Q5_NoNotifyFlagFollowsDisableAndEnable) {
  Fixture f;
  f.queue.DisableNotifications();
  f.driver.AddReadable("x");
  EXPECT_FALSE(f.driver.NeedsKick());
  EXPECT_TRUE(f.queue.EnableNotifications()) << "what came meanwhile is found by the re-check";
  EXPECT_EQ(f.Serve(), 1);
  EXPECT_FALSE(f.queue.EnableNotifications());
  f.driver.AddReadable("y");
  EXPECT_TRUE(f.driver.NeedsKick());
}

TEST(VirtqueueTest, Q5_AvailEventAsksForTheNextBuffer) {
  Fixture f(kVirtioFeatureEventIdx);
  f.driver.AddReadable("x");
  EXPECT_TRUE(f.driver.NeedsKick());
  EXPECT_EQ(f.Serve(), 1);
  f.driver.AddReadable("y");
  EXPECT_FALSE(f.driver.NeedsKick()) << "the device did not ask yet";
  EXPECT_TRUE(f.queue.EnableNotifications());
  EXPECT_EQ(f.Serve(), 1);
  EXPECT_FALSE(f.queue.EnableNotifications());
  f.driver.AddReadable("z");
  EXPECT_TRUE(f.driver.NeedsKick());
}

// Driver and device race with suppression on: the device sleeps only when it asked to be notified,
// and then it must be. `kicks` stands for the eventfd.
void RaceDriverAndDevice(uint64_t features) {
  constexpr int kRounds = 20000;
  Fixture f(features);
  std::atomic<int> kicks{0};
  std::thread driver([&] {
    int returned = 0;
    for (int added = 0; added < kRounds;) {
      if (added - returned < kSize) {
        f.driver.Add({{GuestAddress(0x800), 1, false}});
        ++added;
        if (f.driver.NeedsKick()) {
          kicks.fetch_add(1);
          kicks.notify_one();
        }
      }
      while (f.driver.TakeUsed().has_value()) ++returned;
      if (added - returned == kSize) std::this_thread::yield();
    }
  });
  int served = 0;
  int seen = 0;
  while (served < kRounds) {
    do {
      f.queue.DisableNotifications();
      served += f.Serve();
    } while (f.queue.EnableNotifications());
    if (served == kRounds) break;
    kicks.wait(seen);  // hangs here if a kick was lost
    seen = kicks.load();
  }
  driver.join();
  EXPECT_EQ(served, kRounds);
}

TEST(VirtqueueTest, Q5_NoKickIsLostWithFlags) { RaceDriverAndDevice(0); }
TEST(VirtqueueTest, Q5_NoKickIsLostWithEventIdx) { RaceDriverAndDevice(kVirtioFeatureEventIdx); }

TEST(DescriptorChainDeathTest, AChainDroppedWithoutReturnIsAProgrammingError) {
  Fixture f;
  f.driver.AddReadable("x");
  EXPECT_DEATH({ std::optional<DescriptorChain> chain = f.queue.Pop(); },
               "dropped without being returned");
}

TEST(DescriptorChainTest, AMovedFromChainNeedNotBeReturned) {
  Fixture f;
  f.driver.AddReadable("x");
  std::optional<DescriptorChain> first = f.queue.Pop();
  ASSERT_TRUE(first.has_value());
  DescriptorChain second = *std::move(first);
  first.reset();
  EXPECT_EQ(second.readable_bytes(), 1u);
  f.queue.Return(std::move(second), 0);
}

}  // namespace
}  // namespace stasis
