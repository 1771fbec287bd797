#include "devices/virtio/mmio_transport.h"

#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <thread>
#include <utility>

#include "devices/virtio/features.h"
#include "devices/virtio/testing/driver_queue.h"
#include "devices/virtio/testing/fake_interrupt_line.h"
#include "devices/virtio/testing/mmio_driver.h"

namespace stasis {
namespace {

constexpr uint64_t kFeatures =
    kVirtioFeatureVersion1 | kVirtioFeatureEventIdx | kVirtioFeatureIndirectDesc | 0x5;

// Two queues and six bytes of configuration; remembers what the transport asked of it.
class FakeVirtioDevice : public VirtioDevice {
 public:
  uint32_t device_id() const override { return 42; }
  uint64_t features() const override { return kFeatures; }
  std::vector<uint16_t> queue_max_sizes() const override { return {16, 128}; }
  void ReadConfig(uint64_t offset, absl::Span<uint8_t> data) override {
    static constexpr uint8_t kLayout[] = {1, 2, 3, 4, 5, 6};
    for (size_t i = 0; i < data.size() && offset + i < sizeof(kLayout); ++i) {
      data[i] = kLayout[offset + i];
    }
  }
  absl::Status Activate(Activation activation) override {
    ++activations;
    active = std::move(activation);
    return activate_status;
  }
  absl::Status Reset() override {
    ++resets;
    if (during_reset) during_reset();
    active = Activation();
    return reset_status;
  }

  DriverSignals& driver() { return *signals(); }

  int activations = 0;
  int resets = 0;
  Activation active;
  absl::Status activate_status;
  absl::Status reset_status;
  std::function<void()> during_reset;
};

class MmioTransportTest : public testing::Test {
 protected:
  MmioTransportTest()
      : memory_(*GuestMemory::Create({{.base = GuestAddress(0), .size = 0x100000}})),
        heap_(memory_.get(), GuestAddress(0x1000)),
        queue_(&heap_, 16),
        device_(new FakeVirtioDevice),
        transport_(std::make_unique<VirtioMmioDevice>(
            memory_.get(), std::unique_ptr<VirtioDevice>(device_), &line_, "virtio-test0")),
        driver_(transport_.get()) {}

  void BringUp() {
    ASSERT_TRUE(driver_.Negotiate(kFeatures));
    ASSERT_TRUE(driver_.SetUpQueue(0, queue_.layout()));
    ASSERT_TRUE(driver_.DriverOk());
  }
  RefusalLog& refusals() { return transport_->signals().refusals(); }

  std::unique_ptr<GuestMemory> memory_;
  DriverHeap heap_;
  DriverQueue queue_;
  FakeInterruptLine line_;
  FakeVirtioDevice* const device_;  // the transport's
  std::unique_ptr<VirtioMmioDevice> transport_;
  MmioDriver driver_;
};

TEST_F(MmioTransportTest, T1_ReadsOfOtherWidthsOrMisalignedGiveAllOnes) {
  for (size_t width : {1, 2, 8}) {
    std::vector<uint8_t> data(width, 0);
    transport_->Read(mmio::kMagicValue, absl::MakeSpan(data));
    EXPECT_EQ(data, std::vector<uint8_t>(width, 0xff)) << width;
  }
  EXPECT_EQ(driver_.Read(2), 0xffffffffu);
  EXPECT_EQ(driver_.Read(0xfe), 0xffffffffu);
}

TEST_F(MmioTransportTest, T1_WritesOfOtherWidthsAreDropped) {
  const uint8_t acknowledge[8] = {1};
  for (size_t width : {1, 2, 8}) {
    transport_->Write(mmio::kStatus, absl::MakeConstSpan(acknowledge, width));
    EXPECT_EQ(driver_.status(), 0u) << width;
  }
  EXPECT_EQ(refusals().count("register-width"), 3u);
}

TEST_F(MmioTransportTest, T2_ConfigReadsOfAnyWidthAndZeroPastTheLayout) {
  for (size_t width : {1, 2, 4, 8}) {
    std::vector<uint8_t> data(width, 0xaa);
    std::vector<uint8_t> expected(width, 0);
    for (size_t i = 0; i < std::min<size_t>(width, 2); ++i) expected[i] = 5 + i;
    transport_->Read(mmio::kConfig + 4, absl::MakeSpan(data));
    EXPECT_EQ(data, expected) << width;
  }
  EXPECT_EQ(driver_.Read(0x1fc), 0u);
}

TEST_F(MmioTransportTest, T2_ConfigWritesAreDroppedWithoutALogLine) {
  driver_.Write(mmio::kConfig, 0xffffffff);
  EXPECT_EQ(driver_.Read(mmio::kConfig), 0x04030201u);
  EXPECT_TRUE(refusals().counts().empty());
}

TEST_F(MmioTransportTest, T3_IdentificationRegisters) {
  EXPECT_EQ(driver_.Read(mmio::kMagicValue), 0x74726976u);
  EXPECT_EQ(driver_.Read(mmio::kVersion), 2u);
  EXPECT_EQ(driver_.Read(mmio::kDeviceId), 42u);
  EXPECT_EQ(driver_.Read(mmio::kVendorId), kVirtioMmioVendor);
}

TEST_F(MmioTransportTest, T4_FeaturesArePagedAndOtherPagesReadZero) {
  EXPECT_EQ(driver_.device_features(), kFeatures);
  for (uint32_t page : {2u, 0xffffffffu}) {
    driver_.Write(mmio::kDeviceFeaturesSel, page);
    EXPECT_EQ(driver_.Read(mmio::kDeviceFeatures), 0u);
  }
}

TEST_F(MmioTransportTest, T4_DriverFeaturesOnOtherPagesAreIgnored) {
  driver_.AddStatus(kStatusAcknowledge);
  driver_.AddStatus(kStatusDriver);
  driver_.WriteFeatures(kVirtioFeatureVersion1);
  driver_.Write(mmio::kDriverFeaturesSel, 2);
  driver_.Write(mmio::kDriverFeatures, 0xffffffff);
  EXPECT_TRUE(driver_.AddStatus(kStatusFeaturesOk));
}

TEST_F(MmioTransportTest, T5_DriverFeaturesBeforeDriverAreDropped) {
  driver_.WriteFeatures(kVirtioFeatureVersion1);
  driver_.AddStatus(kStatusAcknowledge);
  driver_.AddStatus(kStatusDriver);
  EXPECT_FALSE(driver_.AddStatus(kStatusFeaturesOk)) << "VERSION_1 was not taken";
  EXPECT_EQ(refusals().count("driver-features-when"), 2u);
}

TEST_F(MmioTransportTest, T5_S9_DriverFeaturesAfterFeaturesOkAreDropped) {
  ASSERT_TRUE(driver_.Negotiate(kVirtioFeatureVersion1));
  driver_.WriteFeatures(kFeatures);
  ASSERT_TRUE(driver_.DriverOk());
  EXPECT_EQ(device_->active.features, kVirtioFeatureVersion1);
}

TEST_F(MmioTransportTest, S9_FeaturesTakeEffectAtFeaturesOkAndNotBefore) {
  driver_.AddStatus(kStatusAcknowledge);
  driver_.AddStatus(kStatusDriver);
  driver_.WriteFeatures(kFeatures);
  EXPECT_EQ(nlohmann::json::parse(transport_->DumpState())["negotiated_features"], "0");
  driver_.AddStatus(kStatusFeaturesOk);
  EXPECT_NE(nlohmann::json::parse(transport_->DumpState())["negotiated_features"], "0");
}

TEST_F(MmioTransportTest, T6_QueueSetUpBeforeFeaturesOkIsDropped) {
  driver_.AddStatus(kStatusAcknowledge);
  driver_.AddStatus(kStatusDriver);
  EXPECT_FALSE(driver_.SetUpQueue(0, queue_.layout()));
  EXPECT_EQ(refusals().count("queue-setup-when"), 8u);
  driver_.WriteFeatures(kVirtioFeatureVersion1);
  ASSERT_TRUE(driver_.AddStatus(kStatusFeaturesOk));
  driver_.Write(mmio::kQueueReady, 1);
  EXPECT_EQ(driver_.Read(mmio::kQueueReady), 0u) << "nothing of it was kept";
}

TEST_F(MmioTransportTest, T6_QueueSetUpAfterDriverOkIsDropped) {
  BringUp();
  DriverQueue other(&heap_, 16);
  EXPECT_FALSE(driver_.SetUpQueue(1, other.layout()));
  driver_.Write(mmio::kQueueSel, 0);
  driver_.Write(mmio::kQueueReady, 0);
  EXPECT_EQ(driver_.Read(mmio::kQueueReady), 1u);
}

TEST_F(MmioTransportTest, T6_AddressHalvesMayComeInEitherOrder) {
  ASSERT_TRUE(driver_.Negotiate(kFeatures));
  driver_.Write(mmio::kQueueSel, 0);
  driver_.Write(mmio::kQueueNum, 16);
  for (auto [low, address] : {std::pair(mmio::kQueueDescLow, queue_.layout().descriptors),
                              {mmio::kQueueDriverLow, queue_.layout().avail},
                              {mmio::kQueueDeviceLow, queue_.layout().used}}) {
    driver_.Write(low, 0xdeadbee0);
    driver_.Write(low + 4, address.value() >> 32);
    driver_.Write(low, address.value());
  }
  driver_.Write(mmio::kQueueReady, 1);
  ASSERT_EQ(driver_.Read(mmio::kQueueReady), 1u);
  ASSERT_TRUE(driver_.DriverOk());
  EXPECT_EQ(device_->active.queues[0].queue->layout().used, queue_.layout().used);
}

TEST_F(MmioTransportTest, T6_AReadyQueueKeepsItsLayout) {
  ASSERT_TRUE(driver_.Negotiate(kFeatures));
  ASSERT_TRUE(driver_.SetUpQueue(0, queue_.layout()));
  driver_.Write(mmio::kQueueNum, 0x8000);
  driver_.Write(mmio::kQueueDescLow, 0xfffffff0);
  ASSERT_TRUE(driver_.DriverOk());
  EXPECT_EQ(device_->active.queues[0].queue->layout().size, 16u);
  EXPECT_EQ(device_->active.queues[0].queue->layout().descriptors, queue_.layout().descriptors);
}

TEST_F(MmioTransportTest, T7_QueueSelOutsideOfTheQueuesReadsZeroAndWritesNothing) {
  ASSERT_TRUE(driver_.Negotiate(kFeatures));
  for (uint32_t index : {2u, 0xffffffffu}) {
    EXPECT_FALSE(driver_.SetUpQueue(index, queue_.layout()));
    EXPECT_EQ(driver_.Read(mmio::kQueueNumMax), 0u);
    EXPECT_EQ(driver_.Read(mmio::kQueueReady), 0u);
  }
  driver_.Write(mmio::kQueueSel, 1);
  EXPECT_EQ(driver_.Read(mmio::kQueueNumMax), 128u);
}

TEST_F(MmioTransportTest, T7_BadQueueSizesDoNotBecomeReady) {
  ASSERT_TRUE(driver_.Negotiate(kFeatures));
  for (uint32_t size : {0u, 3u, 32u, 0x10000u, 0xffffffffu}) {
    QueueLayout layout = queue_.layout();
    layout.size = size;
    EXPECT_FALSE(driver_.SetUpQueue(0, layout)) << size;
  }
  EXPECT_TRUE(driver_.SetUpQueue(0, queue_.layout()));
}

TEST_F(MmioTransportTest, Q1_RingsOutsideOfMemoryOrMisalignedDoNotBecomeReady) {
  ASSERT_TRUE(driver_.Negotiate(kFeatures));
  QueueLayout layout = queue_.layout();
  layout.used = layout.used + 2;
  EXPECT_FALSE(driver_.SetUpQueue(0, layout));
  layout = queue_.layout();
  layout.avail = GuestAddress(0x7fffffffff000);
  EXPECT_FALSE(driver_.SetUpQueue(0, layout));
}

TEST_F(MmioTransportTest, T8_AcknowledgeClearsExactlyTheBitsWritten) {
  BringUp();
  device_->driver().UsedBuffers();
  device_->driver().ConfigChanged();
  EXPECT_EQ(driver_.Read(mmio::kInterruptStatus), 3u);
  driver_.Write(mmio::kInterruptAck, kInterruptUsedBuffers);
  EXPECT_EQ(driver_.Read(mmio::kInterruptStatus), kInterruptConfigChanged);
  driver_.Write(mmio::kInterruptAck, 0xfffffffc);
  EXPECT_EQ(driver_.Read(mmio::kInterruptStatus), kInterruptConfigChanged);
}

TEST_F(MmioTransportTest, T8_BitsSetByAnotherThreadAreNeverLost) {
  BringUp();
  constexpr int kRounds = 1000;
  std::atomic<int> seen{0};
  std::thread worker([&] {
    for (int i = 1; i <= kRounds; ++i) {
      device_->driver().UsedBuffers();
      while (seen.load() < i) std::this_thread::yield();  // hangs if the bit was lost
    }
  });
  while (seen.load() < kRounds) {
    driver_.Write(mmio::kInterruptAck, kInterruptConfigChanged);  // never the worker's bit
    if (driver_.TakeInterrupt() == kInterruptUsedBuffers) seen.fetch_add(1);
    std::this_thread::yield();
  }
  worker.join();
  EXPECT_EQ(driver_.Read(mmio::kInterruptStatus), 0u);
}

TEST_F(MmioTransportTest, T9_GenerationChangesOnResetAndOnConfigChange) {
  const uint32_t start = driver_.Read(mmio::kConfigGeneration);
  driver_.Reset();
  const uint32_t after_reset = driver_.Read(mmio::kConfigGeneration);
  EXPECT_NE(after_reset, start);
  device_->driver().ConfigChanged();
  EXPECT_NE(driver_.Read(mmio::kConfigGeneration), after_reset);
  EXPECT_EQ(line_.edges(), 0) << "no driver yet, no interrupt";
}

TEST_F(MmioTransportTest, T10_NotifyEventsAndTheExitLeadToTheSameEventfd) {
  const std::vector<NotifyEvent> events = transport_->NotifyEvents();
  ASSERT_EQ(events.size(), 2u);
  for (uint32_t i = 0; i < 2; ++i) {
    EXPECT_EQ(events[i].offset, 0x50u);
    EXPECT_EQ(events[i].length, 4u);
    EXPECT_EQ(events[i].data_match, i);
    driver_.Notify(i);
    eventfd_t count = 0;
    EXPECT_EQ(eventfd_read(events[i].event_fd, &count), 0);
    EXPECT_EQ(count, 1u);
  }
  BringUp();
  EXPECT_EQ(device_->active.queues[1].notify_fd, events[1].event_fd);
}

TEST_F(MmioTransportTest, T10_NotificationOfNoQueueIsCountedOnly) {
  driver_.Notify(2);
  driver_.Notify(0xffffffff);
  EXPECT_EQ(refusals().count("queue-notify"), 2u);
}

TEST_F(MmioTransportTest, R4_NotificationsBetweenResetAndDriverOkAreKept) {
  BringUp();
  driver_.Reset();
  driver_.Notify(0);
  ASSERT_TRUE(driver_.Negotiate(kFeatures));
  ASSERT_TRUE(driver_.SetUpQueue(0, queue_.layout()));
  ASSERT_TRUE(driver_.DriverOk());
  device_->active.queues[0].TakeNotifications();
  EXPECT_EQ(device_->active.queues[0].queue->counters().notifications.load(), 1u);
}

TEST_F(MmioTransportTest, S3_S8_ARefusalIsLoggedOncePerCauseAndCountedAlways) {
  driver_.Write(mmio::kStatus, 0x4);
  driver_.Write(mmio::kStatus, 0x8);
  driver_.Write(mmio::kStatus, 0x3);
  EXPECT_EQ(refusals().count("status-out-of-order"), 2u);
  EXPECT_EQ(refusals().count("status-multiple-bits"), 1u);
  EXPECT_EQ(refusals().lines_logged(), 2u);
  driver_.AddStatus(kStatusAcknowledge);
  driver_.Write(mmio::kStatus, kStatusAcknowledge);
  EXPECT_EQ(refusals().lines_logged(), 2u) << "S3: the same value again says nothing";
}

TEST_F(MmioTransportTest, R1_S8_AResetReArmsTheLogAndKeepsTheCounters) {
  driver_.Write(mmio::kStatus, 0x4);
  driver_.Reset();
  driver_.Write(mmio::kStatus, 0x4);
  EXPECT_EQ(refusals().lines_logged(), 2u);
  EXPECT_EQ(refusals().count("status-out-of-order"), 2u);
}

TEST_F(MmioTransportTest, S8_ADriverThatResetsForEverCannotFillTheLog) {
  for (int i = 0; i < 1000; ++i) {
    driver_.Write(mmio::kStatus, 0x4);
    driver_.Reset();
  }
  EXPECT_EQ(refusals().lines_logged(), RefusalLog::kMaxLines);
  EXPECT_EQ(refusals().count("status-out-of-order"), 1000u);
}

TEST_F(MmioTransportTest, S4_WithoutVersion1FeaturesOkDoesNotStickAndTheReasonIsNamed) {
  EXPECT_FALSE(driver_.Negotiate(0x1));
  EXPECT_NE(refusals().last().back().find("lack VERSION_1"), std::string::npos);
}

TEST_F(MmioTransportTest, S4_FeaturesThatWereNotOfferedAreRefusedAndNamed) {
  EXPECT_FALSE(driver_.Negotiate(kFeatures | 0x8));
  EXPECT_NE(refusals().last().back().find("0x8 were never offered"), std::string::npos)
      << refusals().last().back();
}

TEST_F(MmioTransportTest, S6_APoisonedDeviceAnswersAndOnlyAResetHelps) {
  BringUp();
  device_->driver().NeedsReset("test");
  EXPECT_EQ(driver_.status(), 0x4fu);
  EXPECT_EQ(driver_.Read(mmio::kInterruptStatus), kInterruptConfigChanged);
  driver_.Write(mmio::kStatus, 0xf);
  EXPECT_EQ(driver_.status(), 0x4fu);
  EXPECT_EQ(refusals().count("status-needs-reset"), 1u);
  driver_.Reset();
  EXPECT_EQ(driver_.status(), 0u);
}

TEST_F(MmioTransportTest, DriverOkActivatesWithReadyQueuesOnly) {
  BringUp();
  EXPECT_EQ(device_->activations, 1);
  EXPECT_EQ(device_->active.features, kFeatures);
  ASSERT_EQ(device_->active.queues.size(), 2u);
  EXPECT_NE(device_->active.queues[0].queue, nullptr);
  EXPECT_EQ(device_->active.queues[1].queue, nullptr);
}

TEST_F(MmioTransportTest, R1_R2_AnInterruptRaisedWhileStoppingIsClearedAfterTheStop) {
  BringUp();
  device_->during_reset = [this] { device_->driver().UsedBuffers(); };
  driver_.Reset();
  EXPECT_EQ(driver_.Read(mmio::kInterruptStatus), 0u);
  EXPECT_EQ(driver_.status(), 0u);
  driver_.Write(mmio::kQueueSel, 0);
  EXPECT_EQ(driver_.Read(mmio::kQueueReady), 0u);
}

TEST_F(MmioTransportTest, R3_ADeviceThatDoesNotStopShowsNeedsResetUntilItDoes) {
  BringUp();
  device_->reset_status = absl::DeadlineExceededError("worker stuck in a system call");
  driver_.Reset();
  EXPECT_EQ(driver_.status(), kStatusNeedsReset);
  EXPECT_FALSE(driver_.AddStatus(kStatusAcknowledge));
  EXPECT_EQ(nlohmann::json::parse(transport_->DumpState())["stopped_cleanly"], false);
  device_->reset_status = absl::OkStatus();
  EXPECT_TRUE(driver_.Negotiate(kFeatures));
}

TEST_F(MmioTransportTest, R6_ADeviceThatCannotStartLeavesRegistersAnswering) {
  device_->activate_status = absl::ResourceExhaustedError("no thread");
  ASSERT_TRUE(driver_.Negotiate(kFeatures));
  driver_.DriverOk();
  EXPECT_EQ(driver_.status(), 0x4fu);
  EXPECT_EQ(driver_.Read(mmio::kMagicValue), kVirtioMmioMagic);
}

TEST_F(MmioTransportTest, R9_DestructionStopsTheDeviceAndSilencesWhoeverIsLeft) {
  class Counting : public FakeVirtioDevice {
   public:
    Counting(int* resets, std::shared_ptr<DriverSignals>* left) : resets_(resets), left_(left) {}
    absl::Status Reset() override {
      ++*resets_;
      *left_ = signals();  // as a worker that was abandoned
      return absl::DeadlineExceededError("stuck");
    }

   private:
    int* const resets_;
    std::shared_ptr<DriverSignals>* const left_;
  };
  int resets = 0;
  std::shared_ptr<DriverSignals> left;
  {
    VirtioMmioDevice transport(memory_.get(), std::make_unique<Counting>(&resets, &left), &line_,
                               "virtio-test1");
  }
  EXPECT_EQ(resets, 1);
  left->UsedBuffers();
  EXPECT_EQ(line_.edges(), 0);
}

TEST_F(MmioTransportTest, DumpStateShowsLadderQueuesAndRefusals) {
  BringUp();
  queue_.AddReadable("x");
  driver_.Write(mmio::kMagicValue, 1);
  const nlohmann::json state = nlohmann::json::parse(transport_->DumpState());
  EXPECT_EQ(state["status"], "0xf");
  EXPECT_EQ(state["queues"][0]["size"], 16);
  EXPECT_EQ(state["queues"][0]["ready"], true);
  EXPECT_EQ(state["queues"][0]["avail_idx"], 1);
  EXPECT_EQ(state["queues"][0]["next_avail"], 0);
  EXPECT_EQ(state["queues"][1]["ready"], false);
  EXPECT_EQ(state["refusals"]["register-read-only"], 1);
}

}  // namespace
}  // namespace stasis
