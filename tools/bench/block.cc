// The disk benchmark, device alone: no KVM, the ring driven from a thread. See docs/benchmarks.md.
#include <glog/logging.h>
#include <poll.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "devices/block/virtio_block.h"
#include "devices/virtio/features.h"
#include "devices/virtio/mmio_transport.h"
#include "devices/virtio/testing/mmio_driver.h"
#include "tools/bench/block_driver.h"
#include "tools/bench/child.h"

namespace stasis::bench {
namespace {

constexpr uint64_t kMemory = 16 << 20;
constexpr uint64_t kDisk = 64 << 20;
constexpr int kRuns = 5;

// The null engine: every system call has succeeded before it is made.
class NullCalls : public IoFaults {
 public:
  std::optional<int64_t> Intercept(IoStep& step) override {
    int64_t bytes = 0;
    for (int i = 0; i < step.iov_count; ++i) bytes += step.iov[i].iov_len;
    return bytes;
  }
};

// An interrupt as KVM's irqfd takes it: a write to an eventfd, which the driver's thread waits for.
class EventLine : public InterruptLine {
 public:
  EventLine() : event_(eventfd(0, EFD_CLOEXEC)) {}
  ~EventLine() override { close(event_); }
  void Trigger() override { (void)eventfd_write(event_, 1); }
  void Wait() {
    eventfd_t count = 0;
    (void)eventfd_read(event_, &count);
  }

 private:
  const int event_;
};

struct Figure {
  double per_second = 0;
  double device_ns = 0;      // CPU time of the worker's thread for each request
  double notifications = 0;  // for each request
  double interrupts = 0;
};

// User and system time of the disk's worker.
double WorkerCpuSeconds() {
  namespace fs = std::filesystem;
  for (const fs::directory_entry& task : fs::directory_iterator("/proc/self/task")) {
    std::string name;
    std::getline(std::ifstream(task.path() / "comm"), name);
    if (name != "bench/q0") continue;
    double ns = 0;
    std::ifstream(task.path() / "schedstat") >> ns;
    return ns / 1e9;
  }
  return 0;
}

enum class Backing { kNull, kMemoryUring, kMemorySync };

absl::StatusOr<Figure> Measure(Backing backing, uint16_t depth, uint64_t requests) {
  auto memory = GuestMemory::Create({{.base = GuestAddress(0), .size = kMemory}});
  if (!memory.ok()) return memory.status();
  auto file = BackingFile::CreateScratch(kDisk);
  if (!file.ok()) return file.status();
  // Written once: reading a hole is cheaper than a disk's pages.
  const std::string block(1 << 20, 1);
  for (uint64_t at = 0; at < kDisk; at += block.size()) {
    if (pwrite((*file)->fd(), block.data(), block.size(), at) < 0) {
      return absl::ErrnoToStatus(errno, "scratch disk");
    }
  }
  VirtioBlock::Options options{.name = "bench"};
  options.engine = backing == Backing::kMemoryUring ? EngineKind::kUring : EngineKind::kSync;
  if (backing == Backing::kNull) options.faults = std::make_shared<NullCalls>();
  auto device = VirtioBlock::Create(options, *file);
  if (!device.ok()) return device.status();
  if ((*device)->engine() != options.engine) return absl::UnavailableError("no io_uring here");
  EventLine line;
  VirtioMmioDevice transport(memory->get(), *std::move(device), &line, "bench");
  MmioDriver mmio(&transport);
  LeanDriver driver(memory->get(), depth);
  const QueueLayout layout{.size = LeanDriver::kSize,
                           .descriptors = GuestAddress(LeanDriver::kDescriptors),
                           .avail = GuestAddress(LeanDriver::kAvail),
                           .used = GuestAddress(LeanDriver::kUsed)};
  if (!mmio.Negotiate(mmio.device_features()) || !mmio.SetUpQueue(0, layout) || !mmio.DriverOk()) {
    return absl::InternalError("the device refused a good driver");
  }
  const int notify = transport.NotifyEvents().front().event_fd;
  const auto run = [&](uint64_t count) {
    for (uint64_t done = 0; done < count;) {
      if (driver.Refill()) (void)eventfd_write(notify, 1);  // as KVM's ioeventfd does
      uint16_t reaped = driver.Reap();
      if (reaped == 0) {
        line.Wait();
        reaped = driver.Reap();
      }
      done += reaped;
    }
  };
  run(requests / 10);
  const QueueCounters& counters = transport.queue_counters(0);
  const uint64_t notified = counters.notifications;
  const uint64_t interrupted = counters.interrupts;
  const double cpu = WorkerCpuSeconds();
  const absl::Time begun = MonotonicNow();
  run(requests);
  const double seconds = absl::ToDoubleSeconds(MonotonicNow() - begun);
  const double n = static_cast<double>(requests);
  return Figure{n / seconds, (WorkerCpuSeconds() - cpu) / n * 1e9,
                (counters.notifications - notified) / n, (counters.interrupts - interrupted) / n};
}

int Main(int argc, char** argv) {
  uint64_t requests = 200000;
  std::vector<int> depths = {1, 4, 16, 32, 64, 128, 256};
  CLI::App app("4 KiB reads through a virtio disk without a guest");
  app.add_option("--requests", requests, "Per depth and engine")->check(CLI::PositiveNumber);
  app.add_option("--depths", depths, "Requests in flight, 1 to 256")
      ->delimiter(',')
      ->check(CLI::Range(1, 256));
  CLI11_PARSE(app, argc, argv);
  printf("4 KiB reads, device alone, median of %d runs of %d requests\n", kRuns,
         static_cast<int>(requests));
  printf("%-22s %5s %12s %14s %14s %12s\n", "engine", "depth", "requests/s", "worker ns each",
         "notifications", "interrupts");
  for (const auto& [backing, name] :
       {std::pair(Backing::kNull, "null"), std::pair(Backing::kMemoryUring, "io_uring on memory"),
        std::pair(Backing::kMemorySync, "sync on memory")}) {
    for (int depth : depths) {
      std::vector<Figure> figures;
      for (int run = 0; run < kRuns; ++run) {
        const auto figure = Measure(backing, static_cast<uint16_t>(depth), requests);
        if (!figure.ok()) {
          fprintf(stderr, "%s\n", std::string(figure.status().message()).c_str());
          return 3;
        }
        figures.push_back(*figure);
      }
      std::sort(figures.begin(), figures.end(),
                [](const Figure& a, const Figure& b) { return a.per_second < b.per_second; });
      const Figure& median = figures[kRuns / 2];
      printf("%-22s %5d %12.0f %14.0f %14.3f %12.3f\n", name, depth, median.per_second,
             median.device_ns, median.notifications, median.interrupts);
      fflush(stdout);
    }
  }
  return 0;
}

}  // namespace
}  // namespace stasis::bench

int main(int argc, char** argv) {
  google::InitGoogleLogging(argv[0]);
  return stasis::bench::Main(argc, argv);
}
