// The rendezvous with participants that do as the test says. Threads only where a rule speaks of
// them.
#include "vmm/freeze/freeze_coordinator.h"

#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "vmm/freeze/device_participant.h"

namespace stasis {
namespace {

// Writes down what it is asked, and parks when `parks` says so.
class FakeParticipant : public FreezeParticipant {
 public:
  FakeParticipant(std::string name, ParticipantKind kind, std::vector<std::string>* log)
      : name_(std::move(name)), kind_(kind), log_(log) {}

  std::string name() const override { return name_; }
  ParticipantKind kind() const override { return kind_; }
  void RequestPark(uint64_t epoch) override {
    Log("request");
    requested_ = epoch;
  }
  void Signal() override {
    Log("signal");
    if (parks_at_signal) parked_ = requested_.load();
  }
  void SignalAgain() override {
    ++signals_again;
    if (parks_at_second_signal) parked_ = requested_.load();
  }
  bool IsParked(uint64_t epoch) const override { return parked_ == epoch; }
  void Unpark() override { Log("unpark"); }
  pid_t thread_id() const override { return static_cast<pid_t>(syscall(SYS_gettid)); }
  std::string last_exit() const override { return "KVM_EXIT_HLT"; }

  bool parks_at_signal = true;
  bool parks_at_second_signal = false;
  int signals_again = 0;

 private:
  void Log(const char* what) {
    if (log_ != nullptr) log_->push_back(std::string(what) + " " + name_);
  }

  const std::string name_;
  const ParticipantKind kind_;
  std::vector<std::string>* const log_;
  std::atomic<uint64_t> requested_{0};
  std::atomic<uint64_t> parked_{0};
};

// A thread that counts for as long as it is not frozen, as a vCPU's runs guest code.
class CountingThread : public FreezeParticipant {
 public:
  explicit CountingThread(FreezeCoordinator* coordinator)
      : coordinator_(coordinator), thread_([this] { Main(); }) {}
  ~CountingThread() override {
    stop_ = true;
    thread_.join();
  }

  std::string name() const override { return "counter"; }
  ParticipantKind kind() const override { return ParticipantKind::kVcpu; }
  void RequestPark(uint64_t epoch) override { requested_ = epoch; }
  void Signal() override {}
  bool IsParked(uint64_t epoch) const override { return parked_ == epoch; }
  void Unpark() override {
    requested_ = 0;
    resumed_.Notify();
  }
  uint64_t count() const { return count_; }  // while parked, or at the end

 private:
  void Main() {
    while (!stop_) {
      const uint32_t seen = resumed_.value();
      const uint64_t epoch = requested_;
      if (epoch == 0) {
        ++count_;
        continue;
      }
      parked_ = epoch;
      coordinator_->NotifyParked();
      resumed_.Wait(seen, absl::Milliseconds(100));
    }
  }

  FreezeCoordinator* const coordinator_;
  std::atomic<bool> stop_{false};
  std::atomic<uint64_t> requested_{0};
  std::atomic<uint64_t> parked_{0};
  EventCount resumed_;
  uint64_t count_ = 0;
  std::thread thread_;
};

constexpr FreezeOptions kShort{.deadline = absl::Milliseconds(60),
                               .device_deadline = absl::Milliseconds(15)};

TEST(FreezeCoordinatorTest, F2_DevicesAreAskedFirstAndSignalsComeAfterAllRequests) {
  std::vector<std::string> log;
  FakeParticipant vcpu0("vcpu0", ParticipantKind::kVcpu, &log);
  FakeParticipant vcpu1("vcpu1", ParticipantKind::kVcpu, &log);
  FakeParticipant disk("disk", ParticipantKind::kDevice, &log);
  FreezeCoordinator coordinator;
  for (FreezeParticipant* p : {&vcpu0, &vcpu1, &disk}) coordinator.Add(p);

  const FreezeReport report = coordinator.Freeze();

  EXPECT_TRUE(report.complete());
  EXPECT_EQ(log, (std::vector<std::string>{"request disk", "request vcpu0", "request vcpu1",
                                           "signal vcpu0", "signal vcpu1", "signal disk"}));
}

TEST(FreezeCoordinatorTest, F5_ReadsWhatTheThreadWroteBeforeItParked) {
  FreezeCoordinator coordinator;
  CountingThread thread(&coordinator);
  coordinator.Add(&thread);

  // Under a thread sanitizer this is also the proof that the slot needs no lock.
  for (int i = 0; i < 200; ++i) {
    ASSERT_TRUE(coordinator.Freeze().complete());
    const uint64_t first = thread.count();
    EXPECT_EQ(thread.count(), first);
    coordinator.Thaw();
  }
}

// Stands still at once and keeps its state a little later, on a thread of its own.
class SlowToCapture : public FakeParticipant {
 public:
  using FakeParticipant::FakeParticipant;
  bool IsCaptured(uint64_t) const override { return captured_.load(std::memory_order_acquire); }
  void Capture() { captured_.store(true, std::memory_order_release); }

 private:
  std::atomic<bool> captured_{false};
};

TEST(FreezeCoordinatorTest, F5_F12_StateIsWaitedForBehindTheLatencyOfParking) {
  FreezeCoordinator coordinator;
  SlowToCapture slow("vcpu0", ParticipantKind::kVcpu, nullptr);
  bool captured_at_clock = true;
  coordinator.Add(&slow);
  coordinator.set_hooks({.after_freeze =
                             [&](const FreezeReport& report) {
                               captured_at_clock = slow.IsCaptured(report.number);
                             },
                         .before_thaw = nullptr});
  std::thread later([&] {
    usleep(20000);
    slow.Capture();
    coordinator.NotifyParked();
  });

  const FreezeReport report = coordinator.Freeze();
  const bool captured = slow.IsCaptured(report.number);
  later.join();

  EXPECT_TRUE(report.complete());
  EXPECT_TRUE(captured);
  EXPECT_FALSE(captured_at_clock) << "the guest's clock was read late";
  EXPECT_GT(report.capture_latency, report.latency);
}

TEST(FreezeCoordinatorTest, F5_F7_AbsenteeThatUsedUpTheDeadlineCostsNobodyElseItsState) {
  FreezeCoordinator coordinator(kShort);
  SlowToCapture good("vcpu0", ParticipantKind::kVcpu, nullptr);
  FakeParticipant lost("vcpu1", ParticipantKind::kVcpu, nullptr);
  lost.parks_at_signal = false;
  coordinator.Add(&good);
  coordinator.Add(&lost);
  std::thread later([&] {
    absl::SleepFor(2 * kShort.deadline);
    good.Capture();
    coordinator.NotifyParked();
  });

  const FreezeReport report = coordinator.Freeze();
  const bool captured = good.IsCaptured(report.number);
  later.join();

  EXPECT_EQ(report.absentees.size(), 1u);
  EXPECT_TRUE(captured);
}

TEST(FreezeCoordinatorTest, F7_StateThatNeverComesEndsAtTheDeadlineAndIsIncomplete) {
  FreezeCoordinator coordinator(kShort);
  SlowToCapture stuck("vcpu0", ParticipantKind::kVcpu, nullptr);
  coordinator.Add(&stuck);

  const FreezeReport report = coordinator.Freeze();

  EXPECT_TRUE(report.absentees.empty());
  ASSERT_EQ(report.participants.size(), 1u);
  EXPECT_TRUE(report.participants[0].parked);
  EXPECT_FALSE(report.participants[0].captured);
  EXPECT_FALSE(report.complete());
  EXPECT_GE(report.capture_latency, kShort.deadline);
}

TEST(FreezeCoordinatorTest, F6_ParticipantThatParksLateWakesTheCoordinator) {
  FreezeCoordinator coordinator;
  FakeParticipant slow("slow", ParticipantKind::kVcpu, nullptr);
  slow.parks_at_signal = false;
  coordinator.Add(&slow);
  std::thread later([&] {
    usleep(20000);
    slow.Signal();  // does nothing but wake
    slow.parks_at_signal = true;
    slow.Signal();
    coordinator.NotifyParked();
  });

  const FreezeReport report = coordinator.Freeze();
  later.join();

  EXPECT_TRUE(report.complete());
}

TEST(FreezeCoordinatorTest, F7_AbsenteeIsNamedAndTheDeadlineHolds) {
  FreezeCoordinator coordinator(kShort);
  FakeParticipant good("vcpu0", ParticipantKind::kVcpu, nullptr);
  FakeParticipant lost("vcpu1", ParticipantKind::kVcpu, nullptr);
  lost.parks_at_signal = false;
  coordinator.Add(&good);
  coordinator.Add(&lost);

  const FreezeReport report = coordinator.Freeze();

  EXPECT_FALSE(report.complete());
  ASSERT_EQ(report.absentees.size(), 1u);
  EXPECT_EQ(report.absentees[0].name, "vcpu1");
  EXPECT_EQ(report.absentees[0].last_exit, "KVM_EXIT_HLT");
  EXPECT_GT(report.absentees[0].thread_id, 0);
  EXPECT_TRUE(report.participants[0].parked);
  EXPECT_FALSE(report.participants[1].parked);
  EXPECT_GE(report.latency, kShort.deadline);
}

TEST(FreezeCoordinatorTest, F7_StuckDeviceCostsItsOwnDeadlineOnly) {
  FreezeCoordinator coordinator(
      {.deadline = absl::Hours(1), .device_deadline = absl::Milliseconds(15)});
  FakeParticipant vcpu("vcpu0", ParticipantKind::kVcpu, nullptr);
  FakeParticipant stuck("disk", ParticipantKind::kDevice, nullptr);
  stuck.parks_at_signal = false;
  coordinator.Add(&vcpu);
  coordinator.Add(&stuck);

  const FreezeReport report = coordinator.Freeze();

  ASSERT_EQ(report.absentees.size(), 1u);
  EXPECT_EQ(report.absentees[0].name, "disk");
  EXPECT_EQ(report.absentees[0].kind, ParticipantKind::kDevice);
}

TEST(FreezeCoordinatorTest, F7_WhoMissedTheSignalIsSignalledAgain) {
  FreezeCoordinator coordinator;
  FakeParticipant deaf("disk", ParticipantKind::kVcpu, nullptr);
  deaf.parks_at_signal = false;
  deaf.parks_at_second_signal = true;
  coordinator.Add(&deaf);

  EXPECT_TRUE(coordinator.Freeze().complete());
  EXPECT_GE(deaf.signals_again, 1);
}

TEST(FreezeCoordinatorTest, F8_SecondRequestSharesTheFrozenStateAndBothMustThaw) {
  std::vector<std::string> log;
  FakeParticipant vcpu("vcpu0", ParticipantKind::kVcpu, &log);
  FreezeCoordinator coordinator;
  coordinator.Add(&vcpu);

  const FreezeReport first = coordinator.Freeze();
  const FreezeReport second = coordinator.Freeze();
  coordinator.Thaw();
  const bool still_frozen = coordinator.frozen();
  const size_t before = log.size();
  coordinator.Thaw();

  EXPECT_EQ(first.number, second.number);
  EXPECT_TRUE(still_frozen);
  EXPECT_EQ(before, 2u);  // one request, one signal, no thaw yet
  EXPECT_EQ(log.back(), "unpark vcpu0");
  EXPECT_FALSE(coordinator.frozen());
}

TEST(FreezeCoordinatorTest, F8_RequestsOfManyThreadsAreAllServed) {
  FreezeCoordinator coordinator;
  CountingThread thread(&coordinator);
  coordinator.Add(&thread);
  std::atomic<int> served{0};
  std::vector<std::thread> askers;
  for (int i = 0; i < 4; ++i) {
    askers.emplace_back([&] {
      for (int k = 0; k < 50; ++k) {
        if (coordinator.Freeze().complete()) ++served;
        coordinator.Thaw();
      }
    });
  }
  for (std::thread& asker : askers) asker.join();

  EXPECT_EQ(served, 200);
  EXPECT_FALSE(coordinator.frozen());
}

TEST(FreezeCoordinatorTest, F9_HooksRunWhileEverybodyStandsStill) {
  std::vector<std::string> log;
  FakeParticipant vcpu("vcpu0", ParticipantKind::kVcpu, &log);
  FreezeCoordinator coordinator;
  coordinator.Add(&vcpu);
  coordinator.set_hooks({.after_freeze = [&](const FreezeReport&) { log.push_back("clock read"); },
                         .before_thaw = [&](const FreezeReport&) { log.push_back("clock set"); }});

  coordinator.Freeze();
  coordinator.Thaw();

  EXPECT_EQ(log, (std::vector<std::string>{"request vcpu0", "signal vcpu0", "clock read",
                                           "clock set", "unpark vcpu0"}));
}

TEST(FreezeCoordinatorTest, F9_FrozenTimeIsCounted) {
  FreezeCoordinator coordinator;

  coordinator.Freeze();
  usleep(2000);
  coordinator.Thaw();

  EXPECT_GE(coordinator.frozen_time(), absl::Milliseconds(2));
}

TEST(FreezeCoordinatorTest, F10_EveryThreadGoesOnAfterEachOfManyThaws) {
  FreezeCoordinator coordinator;
  CountingThread a(&coordinator);
  CountingThread b(&coordinator);
  coordinator.Add(&a);
  coordinator.Add(&b);
  uint64_t last_a = 0;
  uint64_t last_b = 0;

  for (int i = 0; i < 1000; ++i) {
    ASSERT_TRUE(coordinator.Freeze().complete());
    last_a = a.count();
    last_b = b.count();
    coordinator.Thaw();
  }
  // Both must move again, however long this host lets them wait.
  bool moved = false;
  for (int i = 0; i < 1000 && !moved; ++i) {
    usleep(1000);
    coordinator.Freeze();
    moved = a.count() > last_a && b.count() > last_b;
    coordinator.Thaw();
  }

  EXPECT_TRUE(moved);
}

TEST(FreezeCoordinatorTest, F11_NoParticipantAtAllIsFrozenAtOnce) {
  FreezeCoordinator coordinator;

  EXPECT_TRUE(coordinator.Freeze().complete());
}

TEST(FreezeCoordinatorTest, F12_LatencyOfEveryFreezeIsKept) {
  FreezeCoordinator coordinator(kShort);
  FakeParticipant vcpu("vcpu0", ParticipantKind::kVcpu, nullptr);
  coordinator.Add(&vcpu);
  for (int i = 0; i < 9; ++i) {
    coordinator.Freeze();
    coordinator.Thaw();
  }
  vcpu.parks_at_signal = false;
  coordinator.Freeze();
  coordinator.Thaw();

  const FreezeLatencies latencies = coordinator.latencies();

  EXPECT_EQ(latencies.count, 10u);
  EXPECT_GE(latencies.max, kShort.deadline);
  EXPECT_LE(latencies.min, latencies.p50);
  EXPECT_LE(latencies.p50, latencies.p99);
  EXPECT_LE(latencies.p99, latencies.max);
}

TEST(FreezeCoordinatorTest, ThawWithoutAFreezeDoesNothing) {
  std::vector<std::string> log;
  FakeParticipant vcpu("vcpu0", ParticipantKind::kVcpu, &log);
  FreezeCoordinator coordinator;
  coordinator.Add(&vcpu);

  coordinator.Thaw();

  EXPECT_TRUE(log.empty());
}

class FakeDevice : public Freezable {
 public:
  std::string name() const override { return "virtio-blk0.0"; }
  void SetOnParked(std::function<void()> on_parked) override { on_parked_ = std::move(on_parked); }
  void RequestPause() override {
    pauses.push_back(true);
    on_parked_();
  }
  bool IsParked() const override { return !pauses.empty() && pauses.back(); }
  void Resume() override { pauses.push_back(false); }

  std::vector<bool> pauses;

 private:
  std::function<void()> on_parked_;
};

TEST(DeviceParticipantTest, P1_PausesAndResumesItsDevice) {
  FakeDevice device;
  FreezeCoordinator coordinator;
  DeviceParticipant participant(&device, &coordinator);
  coordinator.Add(&participant);

  const FreezeReport report = coordinator.Freeze();
  coordinator.Thaw();

  EXPECT_TRUE(report.complete());
  EXPECT_EQ(report.participants[0].kind, ParticipantKind::kDevice);
  EXPECT_EQ(device.pauses, (std::vector<bool>{true, false}));
}

}  // namespace
}  // namespace stasis
