// Reset, pause and the worker's life, on both engines (rules R, P).
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "devices/block/testing/block_driver.h"
#include "devices/block/testing/scripted_faults.h"

namespace stasis {
namespace {

using Hold = ScriptedFaults::Hold;

constexpr uint64_t kDiskBytes = 4 << 20;
constexpr uint32_t kWorking = 0xf;
constexpr uint32_t kNeedsReset = kStatusNeedsReset;

size_t CountEntries(const char* directory) {
  return std::distance(std::filesystem::directory_iterator(directory), {});
}

// Lets only `allowed` more descriptors be opened, for as long as it lives.
class NoMoreDescriptors {
 public:
  explicit NoMoreDescriptors(int allowed) {
    getrlimit(RLIMIT_NOFILE, &before_);
    const int lowest_free = dup(STDIN_FILENO);
    close(lowest_free);
    rlimit now = before_;
    now.rlim_cur = lowest_free + allowed;
    setrlimit(RLIMIT_NOFILE, &now);
  }
  ~NoMoreDescriptors() { setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_;
};

class BlockLifecycleTest : public testing::TestWithParam<EngineKind> {
 protected:
  void SetUp() override {
    options_.engine = GetParam();
    Make();
    if (driver_->device().engine() != GetParam()) GTEST_SKIP() << "no io_uring on this host";
  }
  void Make() {
    driver_ = nullptr;
    options_.faults = faults_;
    driver_ = std::make_unique<BlockDriver>(options_, *BackingFile::CreateScratch(kDiskBytes));
  }
  // A few thousand sectors of reads, notified and not waited for.
  void Load(int requests = 64) {
    for (int i = 0; i < requests; ++i) {
      driver_->Add({BlockHeader(kBlockIn, i * 64)}, {64 * 512, 1});
    }
    driver_->Notify();
  }
  bool Works() {
    const std::string data(4096, static_cast<char>('a' + rounds_++ % 20));
    return driver_->Write(0, data).status == kBlockStatusOk && driver_->Read(0, 8).data == data;
  }
  bool Parks(uint32_t worker = 0) {
    return Eventually([&] { return driver_->worker(worker).IsParked(); });
  }

  std::shared_ptr<ScriptedFaults> faults_ = std::make_shared<ScriptedFaults>();
  VirtioBlock::Options options_;
  std::unique_ptr<BlockDriver> driver_;
  int rounds_ = 0;
};

INSTANTIATE_TEST_SUITE_P(Engines, BlockLifecycleTest,
                         testing::Values(EngineKind::kSync, EngineKind::kUring),
                         [](const auto& engine) {
                           return engine.param == EngineKind::kSync ? "Sync" : "Uring";
                         });

// With requests held in a system call; the synchronous engine is the one that can be held.
class HeldBlockTest : public BlockLifecycleTest {
 protected:
  void HoldAWrite(Hold hold, int let_through = 0) {
    driver_->Bind();
    faults_->HoldCalls(hold, let_through);
    head_ = driver_->Add({BlockHeader(kBlockOut, 0), std::string(4096, 'w')}, {1});
    driver_->Notify();
    ASSERT_TRUE(Eventually([&] { return faults_->holding(); }));
  }
  uint16_t head_ = 0;
};
INSTANTIATE_TEST_SUITE_P(Engines, HeldBlockTest, testing::Values(EngineKind::kSync),
                         [](const auto&) { return "Sync"; });

TEST_P(BlockLifecycleTest, R1_AResetUnderLoadLeavesNothingBehind) {
  driver_->Bind();
  Load();
  const uint32_t generation = driver_->mmio().Read(mmio::kConfigGeneration);
  driver_->mmio().Reset();
  EXPECT_EQ(driver_->mmio().status(), 0u);
  EXPECT_EQ(driver_->mmio().Read(mmio::kInterruptStatus), 0u);
  EXPECT_EQ(driver_->mmio().Read(mmio::kQueueReady), 0u);
  EXPECT_NE(driver_->mmio().Read(mmio::kConfigGeneration), generation);
  driver_->Bind();
  EXPECT_TRUE(Works());
}

TEST_P(BlockLifecycleTest, R2_NoInterruptComesAfterTheReset) {
  for (int round = 0; round < 50; ++round) {
    driver_->Bind();
    Load();
    driver_->mmio().Reset();
    const int edges = driver_->line().edges();
    const uint16_t used = driver_->queue().used_index();
    ASSERT_EQ(driver_->mmio().Read(mmio::kInterruptStatus), 0u);
    for (int i = 0; i < 100; ++i) std::this_thread::yield();
    ASSERT_EQ(driver_->line().edges(), edges);
    ASSERT_EQ(driver_->mmio().Read(mmio::kInterruptStatus), 0u);
    ASSERT_EQ(driver_->queue().used_index(), used);
  }
}

TEST_P(HeldBlockTest, R2_ARequestThatIsInterruptedByTheResetIsNeverCompleted) {
  HoldAWrite(Hold::kInterruptible);
  driver_->mmio().Reset();
  EXPECT_EQ(driver_->mmio().status(), 0u);
  EXPECT_EQ(driver_->queue().used_index(), 0);
  EXPECT_EQ(driver_->line().edges(), 0);
  faults_->Release();
  driver_->Bind();
  EXPECT_EQ(driver_->mmio().Read(mmio::kInterruptStatus), 0u);
  EXPECT_TRUE(Works());
}

TEST_P(HeldBlockTest, R3_AStuckWorkerIsGivenUpAndTheDeviceSaysSo) {
  HoldAWrite(Hold::kUninterruptible);
  driver_->mmio().Reset();
  EXPECT_EQ(driver_->mmio().status(), kNeedsReset);
  EXPECT_EQ(driver_->mmio().Read(mmio::kMagicValue), kVirtioMmioMagic);  // registers answer
  nlohmann::json state = nlohmann::json::parse(driver_->transport().DumpState());
  EXPECT_EQ(state["stopped_cleanly"], false);
  EXPECT_EQ(state["device"]["workers"][0]["live"], false);
  driver_->mmio().Reset();  // still stuck
  EXPECT_EQ(driver_->mmio().status(), kNeedsReset);
  EXPECT_FALSE(driver_->mmio().Negotiate(kVirtioFeatureVersion1));

  faults_->Release();
  EXPECT_TRUE(Eventually([&] {  // a later reset finds it gone
    driver_->mmio().Reset();
    return driver_->mmio().status() == 0;
  }));
  EXPECT_EQ(driver_->queue().used_index(), 0);  // and the guest was left alone
  EXPECT_EQ(driver_->line().edges(), 0);
  driver_->Bind();
  EXPECT_TRUE(Works());
}

TEST_P(HeldBlockTest, R9_DestroyingADeviceWithAStuckWorkerIsBoundedToo) {
  HoldAWrite(Hold::kUninterruptible);
  options_.faults = nullptr;
  driver_->Destroy();
  EXPECT_EQ(driver_->line().edges(), 0);
  EXPECT_TRUE(faults_->holding());
  faults_->Release();
  // The thread lets go of what it shared, and of nothing else.
  EXPECT_TRUE(Eventually([&] { return faults_.use_count() == 1; }));
  EXPECT_EQ(driver_->queue().used_index(), 0);
}

TEST_P(BlockLifecycleTest, R4_WhatWasQueuedAndNotifiedBeforeDriverOkIsFound) {
  for (const bool notify : {false, true}) {
    driver_->Prepare();
    const uint16_t head = driver_->Add({BlockHeader(kBlockIn, 0)}, {512, 1});
    if (notify) driver_->Notify();
    EXPECT_EQ(driver_->queue().used_index(), 0);  // nobody is there
    ASSERT_TRUE(driver_->mmio().DriverOk());
    EXPECT_EQ(driver_->WaitFor(head)->status, kBlockStatusOk);
  }
  EXPECT_TRUE(
      Eventually([&] { return driver_->transport().queue_counters(0).notifications == 1; }));
}

TEST_P(BlockLifecycleTest, R5_R7_TwoResetsKeepFileAndCounters) {
  driver_->Bind();
  ASSERT_TRUE(Works());
  driver_->mmio().Reset();
  driver_->mmio().Reset();
  EXPECT_EQ(driver_->mmio().status(), 0u);
  EXPECT_EQ(driver_->counters().writes, 1u);
  driver_->Bind();
  EXPECT_EQ(driver_->Read(0, 1).data, std::string(512, 'a'));
  EXPECT_EQ(driver_->counters().reads, 2u);
}

TEST_P(BlockLifecycleTest, R6_WithoutDescriptorsTheDeviceHasNoWorkerAndAnswers) {
  driver_->Prepare();
  {
    NoMoreDescriptors none(0);
    driver_->mmio().DriverOk();
  }
  EXPECT_EQ(driver_->mmio().status(), kWorking | kNeedsReset);
  EXPECT_EQ(driver_->mmio().Read(mmio::kMagicValue), kVirtioMmioMagic);
  EXPECT_TRUE(driver_->worker().IsParked());
  driver_->Bind();
  EXPECT_TRUE(Works());
}

TEST_P(BlockLifecycleTest, R6_WhenTheSecondQueueCannotStartTheFirstStopsToo) {
  options_.queues = 2;
  Make();
  driver_->Prepare(BlockDriver::kAll, 64, 2);
  {
    NoMoreDescriptors few(6);  // a worker needs four, or five with io_uring
    driver_->mmio().DriverOk();
  }
  EXPECT_EQ(driver_->mmio().status(), kWorking | kNeedsReset);
  const nlohmann::json state = nlohmann::json::parse(driver_->transport().DumpState());
  EXPECT_EQ(state["device"]["workers"][0]["live"], false);
  EXPECT_EQ(state["device"]["workers"][1]["live"], false);
  EXPECT_EQ(state["last_refusals"].back().get<std::string>().find("needs-reset"), 0u);
  EXPECT_NE(state["last_refusals"].back().get<std::string>().find("/q1"), std::string::npos);
  driver_->Bind(BlockDriver::kAll, 64, 2);
  EXPECT_TRUE(Works());
}

TEST_P(BlockLifecycleTest, R6_AThreadThatCannotBeMadeLeavesTheDeviceWithoutAWorker) {
  options_.cpus = {CPU_SETSIZE - 1};  // no such CPU
  Make();
  driver_->Prepare();
  driver_->mmio().DriverOk();
  EXPECT_EQ(driver_->mmio().status(), kWorking | kNeedsReset);
  EXPECT_TRUE(driver_->worker().IsParked());
  driver_->mmio().Reset();
  EXPECT_EQ(driver_->mmio().status(), 0u);
}

TEST_P(BlockLifecycleTest, R8_AResetOfAPausedWorkerUnpausesItFirst) {
  driver_->Bind();
  ASSERT_TRUE(Works());
  driver_->worker().RequestPause();
  ASSERT_TRUE(Parks());
  driver_->mmio().Reset();
  EXPECT_EQ(driver_->mmio().status(), 0u);  // it was stopped, not given up
  driver_->worker().Resume();
  driver_->Bind();
  EXPECT_TRUE(Works());
}

TEST_P(BlockLifecycleTest, R_ManyBindsUnderLoadLeakNeitherThreadsNorDescriptors) {
  driver_->Bind();
  ASSERT_TRUE(Works());
  driver_->mmio().Reset();
  const size_t descriptors = CountEntries("/proc/self/fd");
  const size_t threads = CountEntries("/proc/self/task");
  for (int round = 0; round < 100; ++round) {
    driver_->Bind();
    Load(16);
    if (round % 3 == 0) {
      ASSERT_TRUE(driver_->Wait().has_value());
    }
    driver_->mmio().Reset();
    ASSERT_EQ(driver_->mmio().status(), 0u) << round;
  }
  EXPECT_EQ(CountEntries("/proc/self/fd"), descriptors);
  EXPECT_TRUE(Eventually([&] { return CountEntries("/proc/self/task") <= threads; }));
}

TEST_P(BlockLifecycleTest, P1_P2_AParkedWorkerHasPublishedEverythingAndTakesNothing) {
  driver_->Bind();
  for (int round = 0; round < 20; ++round) {
    Load(80);
    driver_->worker().RequestPause();
    ASSERT_TRUE(Parks());
    const QueueCounters& counters = driver_->transport().queue_counters(0);
    const uint64_t taken = counters.chains_taken;
    EXPECT_EQ(counters.chains_returned, taken);  // nothing is in flight
    EXPECT_EQ(driver_->queue().used_index(), static_cast<uint16_t>(taken));
    driver_->Notify();
    for (int i = 0; i < 200; ++i) std::this_thread::yield();
    EXPECT_TRUE(driver_->worker().IsParked());
    EXPECT_EQ(counters.chains_taken, taken);
    driver_->worker().Resume();
    EXPECT_FALSE(driver_->worker().IsParked());
    for (int i = 0; i < 80; ++i) ASSERT_EQ(driver_->Wait()->status, kBlockStatusOk);
  }
}

TEST_P(BlockLifecycleTest, P3_WithoutAWorkerAPauseSucceedsAtOnceAgainAndAgain) {
  for (int i = 0; i < 3; ++i) {  // before the first DRIVER_OK
    driver_->worker().RequestPause();
    EXPECT_TRUE(driver_->worker().IsParked());
    driver_->worker().Resume();
    EXPECT_TRUE(driver_->worker().IsParked());
  }
  driver_->Bind();
  ASSERT_TRUE(Works());
  driver_->mmio().Reset();
  for (int i = 0; i < 3; ++i) {  // between reset and DRIVER_OK
    driver_->worker().RequestPause();
    EXPECT_TRUE(driver_->worker().IsParked());
    driver_->worker().Resume();
  }
  driver_->Bind();
  EXPECT_TRUE(Works());
}

TEST_P(HeldBlockTest, P3_AWorkerThatWasGivenUpDoesNotHoldUpAPause) {
  HoldAWrite(Hold::kUninterruptible);
  driver_->mmio().Reset();
  for (int i = 0; i < 2; ++i) {
    driver_->worker().RequestPause();
    EXPECT_TRUE(driver_->worker().IsParked());
    driver_->worker().Resume();
  }
  faults_->Release();
}

TEST_P(BlockLifecycleTest, P4_APauseOvertakenByAResetDoesNotParkTheNextWorker) {
  driver_->Bind();
  driver_->worker().RequestPause();
  driver_->Bind();
  EXPECT_TRUE(Works());
  EXPECT_FALSE(driver_->worker().IsParked());
}

TEST_P(BlockLifecycleTest, P_AWorkerThatStartsDuringAFreezeStartsParked) {
  driver_->Prepare();
  driver_->worker().RequestPause();
  ASSERT_TRUE(driver_->worker().IsParked());
  const uint16_t head = driver_->Add({BlockHeader(kBlockIn, 0)}, {512, 1});
  ASSERT_TRUE(driver_->mmio().DriverOk());
  ASSERT_TRUE(Parks());
  EXPECT_EQ(driver_->transport().queue_counters(0).chains_taken, 0u);
  driver_->worker().Resume();
  EXPECT_EQ(driver_->WaitFor(head)->status, kBlockStatusOk);
}

TEST_P(HeldBlockTest, P5_ASignalTakesTheWorkerOutOfASystemCallAndTheTransferGoesOn) {
  // The first call is cut to one sector, the second is the one that waits.
  faults_->Script({});
  driver_->Bind();
  ASSERT_EQ(driver_->Write(8, std::string(512, 'r')).status, kBlockStatusOk);
  faults_->Script({512});
  faults_->HoldCalls(Hold::kInterruptible, /*let_through=*/1);
  const uint16_t head = driver_->Add({BlockHeader(kBlockIn, 7)}, {1024, 1});
  driver_->Notify();
  ASSERT_TRUE(Eventually([&] { return faults_->holding(); }));
  driver_->worker().RequestPause();
  ASSERT_TRUE(Parks());
  EXPECT_GE(faults_->interruptions(), 1);
  EXPECT_FALSE(faults_->holding());
  EXPECT_EQ(driver_->queue().used_index(), 1);  // the write's, and not yet the read's
  faults_->Release();
  driver_->worker().Resume();
  const BlockReply reply = *driver_->WaitFor(head);
  EXPECT_EQ(reply.status, kBlockStatusOk);
  EXPECT_EQ(reply.used_length, 1025u);
  EXPECT_TRUE(reply.data.substr(512) == std::string(512, 'r'));
}

TEST_P(HeldBlockTest, R8_P5_AResetWhileParkedInTheMiddleOfATransferStops) {
  HoldAWrite(Hold::kInterruptible);
  driver_->worker().RequestPause();
  ASSERT_TRUE(Parks());
  driver_->mmio().Reset();
  EXPECT_EQ(driver_->mmio().status(), 0u);
  EXPECT_EQ(driver_->queue().used_index(), 0);
  faults_->Release();
}

TEST(BlockEngineChoiceTest, B8_WithoutIoUringTheSynchronousEngineIsChosen) {
  auto file = *BackingFile::CreateScratch(kDiskBytes);
  VirtioBlock::Options options{.engine = EngineKind::kUring};
  {
    NoMoreDescriptors none(0);  // io_uring_setup fails
    auto device = VirtioBlock::Create(options, file);
    ASSERT_TRUE(device.ok()) << device.status();
    EXPECT_EQ((*device)->engine(), EngineKind::kSync);
  }
}

// Freezes from one thread, binds, requests and resets from another: for the thread sanitizer.
TEST_P(BlockLifecycleTest, R_P_FreezesAndResetsRaceAndNoRequestIsLost) {
  options_.queues = 2;
  Make();
  std::vector<Freezable*> workers = driver_->device().Freezables();
  std::atomic<int> freezes{0};
  std::jthread coordinator([&](std::stop_token stop) {
    while (!stop.stop_requested()) {
      for (Freezable* worker : workers) worker->RequestPause();
      // A worker that a reset started meanwhile is not parked by this freeze (P4): give up on it,
      // as a coordinator's deadline does.
      for (int i = 0; i < 200; ++i) {
        if (workers[0]->IsParked() && workers[1]->IsParked()) break;
        std::this_thread::yield();
      }
      for (Freezable* worker : workers) worker->Resume();
      ++freezes;
      std::this_thread::sleep_for(std::chrono::microseconds(200));  // some time to work in
    }
  });
  for (int round = 0; round < 60; ++round) {
    driver_->Bind(BlockDriver::kAll, 64, 2);
    for (uint32_t queue = 0; queue < 2; ++queue) {
      for (int i = 0; i < 16; ++i) driver_->Add({BlockHeader(kBlockIn, i)}, {4096, 1}, queue);
      driver_->Notify(queue);
    }
    if (round % 2 == 0) {
      for (int i = 0; i < 16; ++i) {
        ASSERT_EQ(driver_->Wait(0)->status, kBlockStatusOk);
        ASSERT_EQ(driver_->Wait(1)->status, kBlockStatusOk);
      }
    }
    driver_->mmio().Reset();
    ASSERT_EQ(driver_->mmio().status(), 0u);
  }
  coordinator.request_stop();
  coordinator.join();
  EXPECT_GT(freezes.load(), 0);
}

}  // namespace
}  // namespace stasis
