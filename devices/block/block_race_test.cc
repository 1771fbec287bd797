// The races that rules R, S and P name, with delays injected on both sides. Meant for
// `bazel test --config=tsan //devices/block:block_race_test` too, which sees what only looks right.
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <random>
#include <string>
#include <thread>

#include "devices/block/testing/block_driver.h"
#include "devices/virtio/status_ladder.h"

namespace stasis {
namespace {

constexpr int kRounds = 150;
constexpr uint32_t kWorking = 0xf;

// Up to 300 us, mostly far less, so that every order of two threads comes up.
class Delays {
 public:
  explicit Delays(unsigned seed) : random_(seed) {}
  void operator()() {
    const uint64_t choice = random_();
    if (choice % 4 == 0) return;
    if (choice % 4 == 1) return std::this_thread::yield();
    usleep(choice / 4 % (choice % 4 == 2 ? 20 : 300));
  }

 private:
  std::minstd_rand random_;
};

// Every system call of the disk takes a while of its own. Called on the workers' threads.
class DelayedCalls : public IoFaults {
 public:
  std::optional<int64_t> Intercept(IoStep&) override {
    static thread_local Delays delay(7);
    delay();
    return std::nullopt;
  }
};

class BlockRaceTest : public testing::TestWithParam<EngineKind> {
 protected:
  void SetUp() override {
    driver_ = std::make_unique<BlockDriver>(
        VirtioBlock::Options{
            .queues = 2, .engine = GetParam(), .faults = std::make_shared<DelayedCalls>()},
        *BackingFile::CreateScratch(1 << 20));
    if (driver_->device().engine() != GetParam()) GTEST_SKIP() << "no io_uring on this host";
  }
  void Load(int requests) {
    for (int i = 0; i < requests; ++i) driver_->Add({BlockHeader(kBlockIn, i)}, {512, 1}, i % 2);
    driver_->Notify(0);
    driver_->Notify(1);
  }
  bool Works() {
    const std::string data(512, static_cast<char>('a' + round_ % 20));
    return driver_->Write(7, data).status == kBlockStatusOk && driver_->Read(7, 1).data == data;
  }

  std::unique_ptr<BlockDriver> driver_;
  int round_ = 0;
};

INSTANTIATE_TEST_SUITE_P(Engines, BlockRaceTest,
                         testing::Values(EngineKind::kSync, EngineKind::kUring),
                         [](const auto& engine) {
                           return engine.param == EngineKind::kSync ? "Sync" : "Uring";
                         });

TEST_P(BlockRaceTest, R1_R2_AResetAgainstCompletionsLeavesNoInterrupt) {
  Delays delay(1);
  for (round_ = 0; round_ < kRounds; ++round_) {
    driver_->Bind(BlockDriver::kAll, 64, 2);
    Load(24);
    delay();
    driver_->mmio().Reset();
    ASSERT_EQ(driver_->mmio().Read(mmio::kInterruptStatus), 0u) << round_;
    ASSERT_EQ(driver_->mmio().status(), 0u) << round_;
    const uint16_t used = driver_->queue(0).used_index();
    delay();
    ASSERT_EQ(driver_->queue(0).used_index(), used) << "a completion after the reset";
    ASSERT_EQ(driver_->mmio().Read(mmio::kInterruptStatus), 0u) << round_;
  }
  driver_->Bind(BlockDriver::kAll, 64, 2);
  EXPECT_TRUE(Works());
}

TEST_P(BlockRaceTest, S7_AStatusWriteAgainstNeedsResetLosesNeitherBit) {
  for (round_ = 0; round_ < kRounds; ++round_) {
    driver_->Prepare(BlockDriver::kAll, 64, 2);
    std::thread device([this] {
      Delays delay(round_);
      delay();
      driver_->transport().signals().NeedsReset("for the race");
    });
    Delays delay(1000 + round_);
    delay();
    (void)driver_->mmio().AddStatus(kStatusDriverOk);
    device.join();
    // Whoever was first: the device's bit is there, and the driver's is unless it came too late.
    const uint32_t status = driver_->mmio().status();
    ASSERT_TRUE(status == (kWorking | kStatusNeedsReset) ||
                status == ((kWorking & ~kStatusDriverOk) | kStatusNeedsReset))
        << std::hex << status;
    driver_->mmio().Reset();
    ASSERT_EQ(driver_->mmio().status(), 0u);
  }
  driver_->Bind(BlockDriver::kAll, 64, 2);
  EXPECT_TRUE(Works());
}

TEST_P(BlockRaceTest, P4_R8_PausesAgainstResetsLeaveNobodyParked) {
  std::atomic<bool> stop{false};
  std::thread freezer([&] {
    Delays delay(3);
    while (!stop.load()) {
      driver_->worker(0).RequestPause();
      driver_->worker(1).RequestPause();
      delay();
      driver_->worker(0).Resume();
      driver_->worker(1).Resume();
      delay();
    }
  });
  Delays delay(4);
  for (round_ = 0; round_ < kRounds; ++round_) {
    driver_->Bind(BlockDriver::kAll, 64, 2);
    Load(8);
    delay();
    driver_->mmio().Reset();
    ASSERT_EQ(driver_->mmio().status(), 0u) << round_;
  }
  stop.store(true);
  freezer.join();
  driver_->Bind(BlockDriver::kAll, 64, 2);
  EXPECT_TRUE(Works());
}

TEST_P(BlockRaceTest, R4_ANotificationAgainstTheWorkersStartIsFound) {
  Delays delay(5);
  for (round_ = 0; round_ < kRounds; ++round_) {
    driver_->Prepare(BlockDriver::kAll, 64, 1);
    const uint16_t head = driver_->Add({BlockHeader(kBlockIn, 1)}, {512, 1});
    std::thread vcpu([this] {
      Delays other(2000 + round_);
      other();
      driver_->Notify();
    });
    delay();
    ASSERT_TRUE(driver_->mmio().AddStatus(kStatusDriverOk));
    const std::optional<BlockReply> reply = driver_->WaitFor(head);
    vcpu.join();
    ASSERT_TRUE(reply.has_value()) << round_;
    ASSERT_EQ(reply->status, kBlockStatusOk) << round_;
    driver_->mmio().Reset();
  }
}

}  // namespace
}  // namespace stasis
