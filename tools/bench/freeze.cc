// The freeze benchmark: how long it takes until every vCPU stands still, against QEMU's `stop`, and
// how fast a dump is written, against QEMU's `dump-guest-memory` and `cp`. See docs/benchmarks.md.
#include <glog/logging.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "nlohmann/json.hpp"
#include "tools/bench/child.h"
#include "tools/bench/freeze_guests.h"
#include "tools/nested/nested.h"
#include "vmm/dump/vmcore_writer.h"
#include "vmm/kvm/kvm.h"
#include "vmm/machine.h"

namespace stasis::bench {
namespace {

namespace fs = std::filesystem;

constexpr absl::Duration kLimit = absl::Minutes(10);  // of any one answer
constexpr int kRounds = 5;
constexpr char kQemu[] = "/usr/bin/qemu-system-x86_64";

struct Options {
  int freezes = 1000;
  std::vector<int> cpus = {1, 2, 4, 8, 16};
  std::string directory = ".";  // for dumps
  bool latency_only = false;
  bool dump_only = false;
};

struct Latencies {
  double p50 = 0;
  double p99 = 0;
  double max = 0;
  double captured_p50 = 0;  // until every vCPU had read its registers, which QEMU's stop does not do
};

Latencies Sorted(std::vector<double> us) {
  std::sort(us.begin(), us.end());
  if (us.empty()) return {};
  return {us[(us.size() - 1) / 2], us[(us.size() - 1) * 99 / 100], us.back()};
}

std::string Text(const absl::StatusOr<Latencies>& latencies) {
  if (!latencies.ok()) return absl::StrCat("-- ", latencies.status().message());
  return absl::StrFormat("%8.0f %8.0f %8.0f", latencies->p50, latencies->p99, latencies->max);
}

absl::StatusOr<Latencies> MeasureStasis(GuestMode mode, int cpus, int freezes) {
  MachineConfig config;
  config.topology = *Topology::Parse(absl::StrCat(cpus, "c"));
  config.memory_bytes = uint64_t{64} << 20;
  absl::StatusOr<std::unique_ptr<Machine>> machine = Machine::Create(config);
  if (!machine.ok()) return machine.status();
  const std::string code = PayloadGuest(mode);
  absl::Status status = (*machine)->LoadPayload(
      absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(code.data()), code.size()),
      GuestAddress(kPayloadAddress));
  if (status.ok()) status = (*machine)->Start([](const MachineEnd&) {});
  if (!status.ok()) return status;
  const absl::Time deadline = MonotonicNow() + absl::Minutes(1);
  while ((*machine)->memory().LoadAtomic<uint32_t>(GuestAddress(kStartedAddress)) !=
         static_cast<uint32_t>(cpus)) {
    if (MonotonicNow() > deadline) return absl::DeadlineExceededError("vCPUs did not start");
    usleep(1000);
  }
  std::vector<double> us, captured_us;
  for (int i = 0; i < freezes; ++i) {
    const FreezeReport report = (*machine)->Freeze();
    (*machine)->Thaw();
    if (!report.complete()) return absl::InternalError("a vCPU did not park");
    us.push_back(absl::ToDoubleMicroseconds(report.latency));
    captured_us.push_back(absl::ToDoubleMicroseconds(report.capture_latency));
    usleep(500);
  }
  Latencies latencies = Sorted(std::move(us));
  latencies.captured_p50 = Sorted(std::move(captured_us)).p50;
  return latencies;
}

// A QEMU with its monitor on a stream.
class Qemu {
 public:
  static absl::StatusOr<std::unique_ptr<Qemu>> Start(const std::string& firmware, const char* accel,
                                                     int cpus, const std::string& memory) {
    auto pair = StreamPair();
    if (!pair.ok()) return pair.status();
    std::unique_ptr<Qemu> qemu(new Qemu);
    Child::Options options;
    options.argv = {kQemu,
                    "-M",
                    "q35",
                    "-accel",
                    accel,
                    "-smp",
                    absl::StrCat(cpus),
                    "-m",
                    memory,
                    "-bios",
                    firmware,
                    "-nodefaults",
                    "-no-user-config",
                    "-display",
                    "none",
                    "-qmp",
                    "stdio"};
    options.input = pair->second.get();
    options.output = pair->second.get();
    auto child = Child::Start(options);
    if (!child.ok()) return child.status();
    qemu->child_ = *std::move(child);
    qemu->stream_ = std::move(pair->first);
    if (auto hello = qemu->Line("\"QMP\""); !hello.ok()) return hello.status();
    if (auto done = qemu->Execute(R"({"execute":"qmp_capabilities"})"); !done.ok()) {
      return done.status();
    }
    return qemu;
  }

  // The answer's line.
  absl::StatusOr<std::string> Execute(const std::string& command) {
    const std::string line = command + "\n";
    if (write(stream_.get(), line.data(), line.size()) != static_cast<ssize_t>(line.size())) {
      return absl::ErrnoToStatus(errno, "write to QEMU's monitor");
    }
    return Line("\"return\"");
  }

  absl::Status WaitUntilStarted(int cpus) {
    const std::string want = absl::StrFormat("0x%08x", cpus);
    const absl::Time deadline = MonotonicNow() + kLimit;
    while (MonotonicNow() < deadline) {
      auto answer = Execute(
          R"({"execute":"human-monitor-command","arguments":{"command-line":"xp /1wx 0xb000"}})");
      if (!answer.ok()) return answer.status();
      if (absl::StrContains(*answer, want)) return absl::OkStatus();
      usleep(10000);
    }
    return absl::DeadlineExceededError("QEMU's guest did not start");
  }

 private:
  // The next line with `word` in it; an answer with an error is an error.
  absl::StatusOr<std::string> Line(absl::string_view word) {
    while (true) {
      const size_t end = buffer_.find('\n');
      if (end == std::string::npos) {
        auto bytes = child_->Read(stream_.get(), MonotonicNow() + kLimit);
        if (!bytes.ok()) return bytes.status();
        buffer_ += *bytes;
        continue;
      }
      const std::string line = buffer_.substr(0, end);
      buffer_.erase(0, end + 1);
      if (absl::StrContains(line, "\"error\"")) return absl::InternalError("QEMU: " + line);
      if (absl::StrContains(line, word)) return line;
    }
  }

  std::unique_ptr<Child> child_;
  OwnedFd stream_;
  std::string buffer_;
};

absl::StatusOr<std::string> WriteFirmware(GuestMode mode, uint32_t fill_bytes) {
  std::string path = "/tmp/stasis-freeze-firmware.XXXXXX";
  const int fd = mkstemp(path.data());
  if (fd < 0) return absl::ErrnoToStatus(errno, path);
  close(fd);
  std::ofstream(path, std::ios::binary) << FirmwareGuest(mode, fill_bytes);
  return path;
}

absl::StatusOr<Latencies> MeasureQemu(GuestMode mode, int cpus, int freezes) {
  absl::StatusOr<std::string> firmware = WriteFirmware(mode, 0);
  if (!firmware.ok()) return firmware.status();
  const absl::Cleanup remove = [&] { unlink(firmware->c_str()); };
  auto qemu = Qemu::Start(*firmware, "kvm", cpus, "64M");
  if (!qemu.ok()) return qemu.status();
  if (absl::Status status = (*qemu)->WaitUntilStarted(cpus); !status.ok()) return status;
  std::vector<double> us;
  for (int i = 0; i < freezes; ++i) {
    const absl::Time begun = MonotonicNow();
    if (auto answer = (*qemu)->Execute(R"({"execute":"stop"})"); !answer.ok()) {
      return answer.status();
    }
    us.push_back(absl::ToDoubleMicroseconds(MonotonicNow() - begun));
    if (auto answer = (*qemu)->Execute(R"({"execute":"cont"})"); !answer.ok()) {
      return answer.status();
    }
    usleep(500);
  }
  return Sorted(std::move(us));
}

int MeasureLatencies(const Options& options) {
  printf("freeze latency in microseconds, %d freezes each\n", options.freezes);
  printf("%-9s %4s  %8s %8s %8s   %8s %8s %8s   %s\n", "guest", "CPUs", "stasis50", "p99", "max",
         "QEMU50", "p99", "max", "ratio of p50; p50 with all registers read");
  bool whole = true;
  for (GuestMode mode : {GuestMode::kSpin, GuestMode::kHalt, GuestMode::kExit}) {
    for (int cpus : options.cpus) {
      const auto ours = MeasureStasis(mode, cpus, options.freezes);
      const auto theirs = MeasureQemu(mode, cpus, options.freezes);
      printf("%-9s %4d  %s   %s   ", GuestModeName(mode), cpus, Text(ours).c_str(),
             Text(theirs).c_str());
      whole = whole && ours.ok() && theirs.ok();
      if (ours.ok() && theirs.ok()) {
        printf("%.2f; %.0f", ours->p50 / theirs->p50, ours->captured_p50);
      }
      printf("\n");
      fflush(stdout);
    }
  }
  return whole ? 0 : 3;
}

double Seconds(absl::Time begun) { return absl::ToDoubleSeconds(MonotonicNow() - begun); }

uint64_t BytesOnDisk(const std::string& path) {
  struct stat file = {};
  return stat(path.c_str(), &file) == 0 ? uint64_t{512} * file.st_blocks : 0;
}

struct DumpFigure {
  double seconds = 0;
  uint64_t bytes = 0;
};

std::string Text(const DumpFigure& figure) {
  return absl::StrFormat("%6.2f s %6.0f MiB %5.2f GB/s", figure.seconds,
                         figure.bytes / double{1 << 20}, figure.bytes / 1e9 / figure.seconds);
}

absl::StatusOr<DumpFigure> DumpStasis(uint64_t touched, const std::string& directory) {
  MemoryRegion region;
  region.size = uint64_t{1} << 30;
  auto memory = GuestMemory::Create({region});
  if (!memory.ok()) return memory.status();
  memset((*memory)->Slice(GuestAddress(16 << 20), touched).data(), 1, touched);
  sync();
  const absl::Time begun = MonotonicNow();
  auto result = dump::WriteVmcore(**memory, {}, {.directory = directory, .name = "bench"});
  if (!result.ok()) return result.status();
  const DumpFigure figure{Seconds(begun), BytesOnDisk(result->path)};
  unlink(result->path.c_str());
  return figure;
}

absl::StatusOr<DumpFigure> DumpQemu(uint64_t touched, const std::string& directory) {
  absl::StatusOr<std::string> firmware =
      WriteFirmware(GuestMode::kHalt, static_cast<uint32_t>(touched));
  if (!firmware.ok()) return firmware.status();
  const std::string path = directory + "/bench-qemu.elf";
  const absl::Cleanup remove = [&] {
    unlink(firmware->c_str());
    unlink(path.c_str());
  };
  auto qemu = Qemu::Start(*firmware, "tcg", 1, "1G");
  if (!qemu.ok()) return qemu.status();
  if (absl::Status status = (*qemu)->WaitUntilStarted(1); !status.ok()) return status;
  if (auto answer = (*qemu)->Execute(R"({"execute":"stop"})"); !answer.ok()) return answer.status();
  sync();
  const absl::Time begun = MonotonicNow();
  auto answer = (*qemu)->Execute(absl::StrCat(
      R"({"execute":"dump-guest-memory","arguments":{"paging":false,"protocol":"file:)", path,
      R"("}})"));
  if (!answer.ok()) return answer.status();
  DumpFigure figure{Seconds(begun), BytesOnDisk(path)};
  return figure;
}

// `cp` of a file with as many bytes, and a sync of the copy, as a dump ends with one.
absl::StatusOr<DumpFigure> Copy(uint64_t bytes, const std::string& directory) {
  const std::string from = directory + "/bench-from";
  const std::string to = directory + "/bench-to";
  const absl::Cleanup remove = [&] {
    unlink(from.c_str());
    unlink(to.c_str());
  };
  {
    std::ofstream file(from, std::ios::binary);
    const std::string block(1 << 20, 1);
    for (uint64_t at = 0; at < bytes; at += block.size()) file << block;
  }
  sync();
  const absl::Time begun = MonotonicNow();
  const std::string line = absl::StrCat("cp --reflink=never ", from, " ", to, " && sync ", to);
  if (system(line.c_str()) != 0) return absl::InternalError("cp failed");
  return DumpFigure{Seconds(begun), BytesOnDisk(to)};
}

int MeasureDumps(const Options& options) {
  const std::string directory = fs::absolute(options.directory).string();
  printf("\ndump of a 1 GiB guest into %s, median of %d\n", directory.c_str(), kRounds);
  auto median = [](std::vector<DumpFigure> figures) {
    std::sort(figures.begin(), figures.end(),
              [](const DumpFigure& a, const DumpFigure& b) { return a.seconds < b.seconds; });
    return figures[figures.size() / 2];
  };
  for (uint64_t mib : {64, 900}) {
    const uint64_t touched = mib << 20;
    // In turns, so that what else the host does falls on all alike.
    std::vector<DumpFigure> figures[3];
    for (int round = 0; round < kRounds; ++round) {
      const absl::StatusOr<DumpFigure> measured[3] = {
          DumpStasis(touched, directory), DumpQemu(touched, directory), Copy(touched, directory)};
      for (int i = 0; i < 3; ++i) {
        if (!measured[i].ok()) {
          fprintf(stderr, "%s\n", std::string(measured[i].status().message()).c_str());
          return 3;
        }
        figures[i].push_back(*measured[i]);
      }
    }
    printf("%4d MiB touched   stasis, synced        %s\n", static_cast<int>(mib),
           Text(median(figures[0])).c_str());
    printf("                   QEMU, not synced      %s\n", Text(median(figures[1])).c_str());
    printf("                   cp of as much, synced %s\n", Text(median(figures[2])).c_str());
    fflush(stdout);
  }
  return 0;
}

// Latencies need a KVM; without one they are measured in the emulated host, both monitors alike.
int LatenciesSomewhere(const Options& options, char** argv) {
  if (InNested() || kvm::Kvm::Open(kvm::KvmDevicePath()).ok()) return MeasureLatencies(options);
  printf("no KVM here: in the nested lane's emulated host\n");
  fflush(stdout);
  char self[PATH_MAX] = {};
  if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0) return 3;
  NestedOptions nested;
  nested.argv = {self, "--latency-only"};
  for (char** argument = argv + 1; *argument != nullptr; ++argument) {
    nested.argv.push_back(*argument);
  }
  nested.env = {{"PATH", "/usr/bin:/bin"}};
  nested.silence_limit = absl::Minutes(5);
  absl::StatusOr<NestedResult> result = RunNested(nested);
  if (result.ok()) return result->exit_code;
  fprintf(stderr, "%s\n", std::string(result.status().message()).c_str());
  return 3;
}

int Main(int argc, char** argv) {
  Options options;
  CLI::App app("Freeze latency and dump speed, against QEMU");
  app.add_option("--freezes", options.freezes, "Per guest and number of vCPUs")
      ->check(CLI::PositiveNumber);
  app.add_option("--cpus", options.cpus, "Numbers of vCPUs")->delimiter(',');
  app.add_option("--directory", options.directory, "Where dumps are written");
  app.add_flag("--latency-only", options.latency_only, "No dumps");
  app.add_flag("--dump-only", options.dump_only, "No freezes");
  CLI11_PARSE(app, argc, argv);
  if (const char* where = getenv("BUILD_WORKING_DIRECTORY"); where != nullptr) {
    options.directory = (fs::path(where) / options.directory).string();
  }
  int code = 0;
  if (!options.dump_only) code = LatenciesSomewhere(options, argv);
  if (!options.latency_only) code = std::max(code, MeasureDumps(options));
  return code;
}

}  // namespace
}  // namespace stasis::bench

int main(int argc, char** argv) {
  google::InitGoogleLogging(argv[0]);
  return stasis::bench::Main(argc, argv);
}
