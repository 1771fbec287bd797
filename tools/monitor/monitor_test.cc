#include "tools/monitor/monitor.h"

#include <unistd.h>

#include <atomic>
#include <functional>
#include <thread>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tools/inspect/testing/fake_kernel.h"

namespace stasis {
namespace {

constexpr char kTask[] = "task_struct";
constexpr uint64_t kNote = 0x180000;  // VMCOREINFO

// A guest's memory with a kernel in it, in which one task waits for CPU 0 and nobody runs.
class MonitorTest : public ::testing::Test {
 protected:
  MonitorTest() {
    waiter_ = kernel_.AddTask(6, "waiter");
    kernel_.Set(kTask, waiter_, "on_rq", 1);
    for (int cpu = 0; cpu < 2; ++cpu) {
      kernel_.Set("rq", kernel_.Runqueue(cpu), "curr", FakeKernel::V(kernel_.init()));
    }
    kernel_.Finish();
    auto memory = GuestMemory::Create({{.base = GuestAddress(0), .size = 0x200000}});
    EXPECT_TRUE(memory.ok());
    memory_ = *std::move(memory);
    std::string bytes(0x100000, '\0');
    EXPECT_TRUE(kernel_.ReadPhysical(0, bytes.data(), bytes.size()));
    EXPECT_TRUE(memory_->Write(GuestAddress(0), bytes.data(), bytes.size()));
    // struct elf64_note, the name padded to 4 bytes, the text.
    const std::string text(kernel_.vmcoreinfo());
    const uint32_t header[] = {11, static_cast<uint32_t>(text.size()), 0};
    EXPECT_TRUE(memory_->Write(GuestAddress(kNote), header, sizeof(header)));
    EXPECT_TRUE(memory_->Write(GuestAddress(kNote + 12), "VMCOREINFO\0\0", 12));
    EXPECT_TRUE(memory_->Write(GuestAddress(kNote + 24), text.data(), text.size()));
  }

  static bool Eventually(const std::function<bool()>& condition) {
    for (int i = 0; i < 2000 && !condition(); ++i) usleep(5000);
    return condition();
  }
  static nlohmann::json Json(const Monitor& monitor) {
    return monitor.ToJson([](absl::Time at) { return absl::ToUnixNanos(at); });
  }
  static uint64_t Samples(const Monitor& monitor) { return Json(monitor)["samples"]; }

  FakeKernel kernel_{2};
  uint64_t waiter_ = 0;
  std::unique_ptr<GuestMemory> memory_;
};

TEST_F(MonitorTest, StalledTaskIsSuspectedAndFoundWhileArmed) {
  std::atomic<int> suspected{0}, found{0};
  MonitorSettings settings{.hz = 200};
  settings.limits.stall = absl::Milliseconds(300);
  Monitor monitor(memory_.get(), settings, [&](const MonitorEvent& event) {
    if (event.what == MonitorEvent::What::kSuspected) ++suspected;
    if (event.what == MonitorEvent::What::kFound) ++found;
  });
  monitor.Start(std::nullopt, {});
  monitor.Arm();

  EXPECT_TRUE(Eventually([&] { return found > 0; })) << monitor.unavailable();
  monitor.Stop();

  EXPECT_EQ(suspected, 1);
  const nlohmann::json json = Json(monitor);
  EXPECT_EQ(json["findings"][0]["kind"], "task-stall");
  EXPECT_EQ(json["findings"][0]["pid"], 6);
  EXPECT_GT(json["mean_sample_cpu_ns"], 0);
  EXPECT_FALSE(json["series"].is_null());
  EXPECT_GT(monitor.Recent()["samples"].size(), 1u);
}

TEST_F(MonitorTest, NothingIsHeldAgainstAGuestBeforeItIsArmed) {
  std::atomic<int> events{0};
  MonitorSettings settings{.hz = 500};
  settings.limits.stall = absl::Milliseconds(10);
  Monitor monitor(memory_.get(), settings, [&](const MonitorEvent&) { ++events; });
  monitor.Start(std::nullopt, {});

  EXPECT_TRUE(Eventually([&] { return Samples(monitor) > 50; }));
  monitor.Stop();

  EXPECT_EQ(events, 0);
}

TEST_F(MonitorTest, FrozenGuestIsNotWaitedFor) {
  std::atomic<int> events{0};
  MonitorSettings settings{.hz = 500};
  settings.limits.stall = absl::Milliseconds(500);
  Monitor monitor(memory_.get(), settings, [&](const MonitorEvent&) { ++events; });
  monitor.Start(std::nullopt, {});
  ASSERT_TRUE(Eventually([&] { return Samples(monitor) > 0; }));
  monitor.Pause();
  monitor.Arm();

  EXPECT_TRUE(Eventually([&] { return Json(monitor)["dropped"]["frozen"] > 200; }));
  monitor.Resume();
  monitor.Stop();

  EXPECT_EQ(events, 0);
}

TEST_F(MonitorTest, MemoryWithoutAKernelIsUnavailableWithTheReason) {
  auto empty = GuestMemory::Create({{.base = GuestAddress(0), .size = 0x100000}});
  ASSERT_TRUE(empty.ok());
  Monitor monitor(empty->get(), {.hz = 100}, [](const MonitorEvent&) {});
  monitor.Start(std::nullopt, {});

  EXPECT_TRUE(Eventually([&] { return !monitor.unavailable().empty(); }));
  monitor.Stop();

  EXPECT_EQ(Json(monitor)["samples"], 0);
  EXPECT_TRUE(Json(monitor).contains("unavailable"));
}

TEST_F(MonitorTest, StopDoesNotWaitForTheDelay) {
  Monitor monitor(memory_.get(), {.hz = 10, .delay = absl::Hours(1)}, [](const MonitorEvent&) {});
  monitor.Start(std::nullopt, {});

  monitor.Stop();

  EXPECT_EQ(Samples(monitor), 0u);
}

// For TSan, and for what a guest may do: everything the monitor looks at changes meanwhile.
TEST_F(MonitorTest, GuestThatWritesMeanwhileIsReadWithoutARace) {
  Monitor monitor(memory_.get(), {.hz = 1000}, [](const MonitorEvent&) {});
  std::atomic<bool> stop{false};
  std::thread guest([&] {
    const uint64_t at = waiter_ + kernel_.types.Offset(kTask, "se.sum_exec_runtime");
    const uint64_t next = kernel_.init() + kernel_.types.Offset(kTask, "tasks.next");
    const uint64_t good = memory_->Load<uint64_t>(GuestAddress(next)).value_or(0);
    for (uint64_t i = 0; !stop; ++i) {
      EXPECT_TRUE(memory_->StoreAtomic<uint64_t>(GuestAddress(at), i));
      EXPECT_TRUE(memory_->StoreAtomic<uint64_t>(GuestAddress(next), i % 7 == 0 ? i << 40 : good));
      EXPECT_TRUE(memory_->StoreAtomic<uint64_t>(
          GuestAddress(kernel_.Runqueue(0) + kernel_.types.Offset("rq", "nr_switches")), i));
    }
  });
  monitor.Start(dump::VmcoreInfoHint{kNote, 4096}, {});

  // On a busy host the two threads may take turns for a while.
  EXPECT_TRUE(Eventually([&] {
    const nlohmann::json dropped = Json(monitor)["dropped"];
    return Samples(monitor) > 100 &&
           dropped["torn_walks"].get<int>() + dropped["torn_cpus"].get<int>() +
                   dropped["raced_tasks"].get<int>() >
               0;
  }));
  stop = true;
  guest.join();
  monitor.Stop();
}

}  // namespace
}  // namespace stasis
