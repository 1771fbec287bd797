// bench/block_guests: a stock kernel's fio on a disk of stasis, beside QEMU's microvm machine. See
// docs/benchmarks.md.
#include <errno.h>
#include <glog/logging.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "tools/bench/bench_lane.h"
#include "tools/bench/disk_guests.h"
#include "tools/bench/statistics.h"
#include "tools/harness/files.h"
#include "tools/harness/guest_cmdline.h"
#include "tools/nested/nested.h"

namespace stasis::bench {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr char kDirectory[] = "STASIS_BENCH_DIRECTORY";
constexpr char kTmpfs[] = "/dev/shm";
constexpr double kDeepGoal = 1.2;  // at depth 32, of the better QEMU
constexpr double kGoal = 1.0;

struct Options {
  int runs = 5;
  int seconds = 2;
  std::string kernel;
  uint32_t cpus = 1;
  std::string accel = "auto";
  std::string directory = "/var/tmp";
  std::string json;
  std::string qemu = "/usr/bin/qemu-system-x86_64";
};

struct Monitor {
  const char* name;
  const char* aio;  // QEMU's; nullptr: stasis
};
constexpr Monitor kMonitors[] = {
    {"stasis", nullptr}, {"QEMU io_uring", "io_uring"}, {"QEMU threads", "threads"}};

// By monitor, in the order of kMonitors.
using Runs = std::vector<DiskFigures>;

absl::Status MakeImage(const std::string& path, uint64_t bytes) {
  // Not sparse: reading a hole is cheaper than reading data.
  std::mt19937_64 random(1);
  std::vector<uint64_t> piece((1 << 20) / sizeof(uint64_t));
  std::ofstream file(path, std::ios::binary);
  for (uint64_t at = 0; at < bytes; at += 1 << 20) {
    std::generate(piece.begin(), piece.end(), random);
    file.write(reinterpret_cast<const char*>(piece.data()), 1 << 20);
  }
  file.flush();
  return file.good() ? absl::OkStatus() : absl::ErrnoToStatus(errno, path);
}

absl::StatusOr<GuestSetup> Prepare(const Options& options) {
  GuestRequest request;
  request.kernel = options.kernel;
  request.memory = "1G";  // fio comes with 80 MB of libraries
  request.shell = true;
  request.include = {"/usr/bin/fio"};
  return PrepareQuietly(std::move(request));
}

struct Measured {
  std::vector<Runs> runs;
  // Guests that were not heard of in time (an emulated host makes one hang now and then), by
  // monitor: they are measured again, and the report tells.
  std::vector<int> lost;
};

absl::Status Measure(const DiskGuestSpec& spec, int rounds, Measured* measured) {
  measured->runs.resize(std::size(kMonitors));
  measured->lost.resize(std::size(kMonitors));
  for (int round = 0; round < rounds; ++round) {
    for (size_t turn = 0; turn < std::size(kMonitors); ++turn) {
      // Nobody is always first.
      const size_t which = (turn + round) % std::size(kMonitors);
      const Monitor& monitor = kMonitors[which];
      while (measured->runs[which].size() <= static_cast<size_t>(round)) {
        fprintf(stderr, "bench: round %d of %d, %s\n", round + 1, rounds, monitor.name);
        absl::StatusOr<DiskFigures> figures =
            monitor.aio == nullptr ? FioInStasis(spec) : FioInQemu(spec, monitor.aio);
        if (figures.ok()) {
          measured->runs[which].push_back(*std::move(figures));
        } else if (!absl::IsDeadlineExceeded(figures.status()) ||
                   ++measured->lost[which] > rounds) {
          return figures.status();
        }
      }
    }
  }
  return absl::OkStatus();
}

Summary Of(const Runs& runs, const std::string& image, const std::string& job) {
  std::vector<double> values;
  for (const DiskFigures& figures : runs) values.push_back(figures.at({image, job}));
  return Summarize(values);
}

// Prints a line for each image and job, and returns them all.
json Report(const std::vector<Runs>& runs) {
  json rows = json::array();
  printf("%-7s %-16s", "image", "job");
  for (const Monitor& monitor : kMonitors) printf(" %30s", monitor.name);
  printf("   ratio to the better QEMU\n");
  for (const char* image : {"memory", "disk"}) {
    for (const DiskJob& job : kDiskJobs) {
      json row = {{"image", image}, {"job", job.name}};
      double best = 0;
      printf("%-7s %-16s", image, job.name);
      for (size_t i = 0; i < std::size(kMonitors); ++i) {
        const Summary summary = Of(runs[i], image, job.name);
        row[kMonitors[i].name] = ToJson(summary);
        if (kMonitors[i].aio != nullptr) best = std::max(best, summary.median);
        printf(" %10.0f (%7.0f to %7.0f)", summary.median, summary.min, summary.max);
      }
      const double goal = job.depth == 32 ? kDeepGoal : kGoal;
      const double ratio = Of(runs[0], image, job.name).median / best;
      row["ratio"] = ratio;
      row["goal"] = goal;
      printf("   %.2f (goal %.1f: %s)\n", ratio, goal, ratio >= goal ? "met" : "missed");
      rows.push_back(std::move(row));
    }
  }
  return rows;
}

int MeasureHere(const Options& options, const std::string& stasis, const std::string& directory) {
  std::string memory = absl::StrCat(kTmpfs, "/stasis-bench-XXXXXX");
  if (mkdtemp(memory.data()) == nullptr) return Fail(absl::ErrnoToStatus(errno, memory));
  auto remove = absl::MakeCleanup([&] {
    std::error_code ignored;
    fs::remove_all(memory, ignored);
  });
  if (InNested()) {
    if (absl::Status made = MakeCacheInside(memory); !made.ok()) return Fail(made);
  }
  absl::StatusOr<GuestSetup> setup = Prepare(options);
  if (!setup.ok()) return Fail(setup.status());
  DiskGuestSpec spec{
      .boot = {.stasis = stasis,
               .qemu = options.qemu,
               .kernel = setup->kernel_path,
               .initrd = setup->initrd,
               .cmdline = GuestCmdline({.discovery = setup->machine.discovery}),
               .acpi = setup->machine.discovery == Discovery::kAcpi,
               .scratch_directory = memory,
               .cpus = options.cpus,
               .memory_bytes = setup->machine.memory_bytes,
               .limit = absl::Seconds(120)},
      .images = {.memory = memory + "/disk.img", .disk = directory + "/disk.img"},
      .seconds = options.seconds};
  absl::Status made = MakeImage(spec.images.memory, kDiskBytes);
  if (made.ok()) made = MakeImage(spec.images.disk, kDiskBytes + kSecondDiskMore);
  if (!made.ok()) return Fail(made);
  Measured measured;
  if (absl::Status status = Measure(spec, options.runs, &measured); !status.ok()) {
    return Fail(status);
  }
  printf("%s, %s, fio for %d s a job, median of %d guests (smallest to largest); requests/s of "
         "4 KiB, MiB/s of 1 MiB\n",
         InNested() ? "nested lane" : "this machine's KVM", setup->kernel.release().c_str(),
         options.seconds, options.runs);
  const json rows = Report(measured.runs);
  json lost;
  for (size_t i = 0; i < std::size(kMonitors); ++i) {
    lost[kMonitors[i].name] = measured.lost[i];
    if (measured.lost[i] > 0) {
      printf("%d guests of %s were not heard of in time and measured again\n", measured.lost[i],
             kMonitors[i].name);
    }
  }
  if (options.json.empty()) return 0;
  absl::Status written =
      WriteFileAtomically(options.json, json{{"format", "stasis.bench.block_guests/1"},
                                             {"rows", rows},
                                             {"lost", lost}}.dump(2) + "\n");
  return written.ok() ? 0 : Fail(written);
}

int Run(const Options& options, const std::vector<std::string>& argv) {
  absl::StatusOr<std::string> stasis = FindStasis();
  if (!stasis.ok()) return Fail(stasis.status());
  if (const char* inside = getenv(kDirectory); InNested() && inside != nullptr) {
    return MeasureHere(options, *stasis, inside);
  }
  std::string directory = absl::StrCat(options.directory, "/stasis-bench-XXXXXX");
  if (mkdtemp(directory.data()) == nullptr) return Fail(absl::ErrnoToStatus(errno, directory));
  auto remove = absl::MakeCleanup([&] {
    std::error_code ignored;
    fs::remove_all(directory, ignored);
  });
  absl::StatusOr<GuestSetup> setup = Prepare(options);
  if (!setup.ok()) return Fail(setup.status());
  std::vector<std::string> writable = {directory};
  if (!options.json.empty()) {
    writable.push_back(fs::path(AbsolutePath(options.json)).parent_path().string());
  }
  absl::StatusOr<std::optional<int>> code =
      RunInsideIfNeeded(options.accel, argv,
                        {{kDirectory, directory}, {kPreparedInitrd, setup->initrd}}, writable);
  if (!code.ok()) return Fail(code.status());
  fprintf(stderr, "bench: %s, load %.1f\n", HostCpu().c_str(), HostLoad());
  return code->has_value() ? **code : MeasureHere(options, *stasis, directory);
}

int Main(int argc, char** argv) {
  Options options;
  CLI::App app(
      "Runs fio in a guest on two disks, in stasis and in QEMU's microvm machine (virtio-blk-device "
      "with an I/O thread), in turns, and compares",
      "block_guests");
  app.add_option("--runs", options.runs, "Guests of each kind")->check(CLI::PositiveNumber);
  app.add_option("--seconds", options.seconds, "Of each job")->check(CLI::PositiveNumber);
  app.add_option("--kernel", options.kernel, "As for 'stasis run --kernel'");
  app.add_option("--cpus", options.cpus, "vCPUs")->check(CLI::Range(1, 64));
  app.add_option("--accel", options.accel, "auto, kvm, nested")->envname("STASIS_ACCEL");
  app.add_option("--directory", options.directory, "Where the image on a disk is made");
  app.add_option("--qemu", options.qemu, "Path of QEMU");
  app.add_option("--json", options.json, "Writes the table to this file as JSON");
  CLI11_PARSE(app, argc, argv);
  if (absl::Status status = EnterUserDirectory(); !status.ok()) return Fail(status);
  return Run(options, std::vector<std::string>(argv, argv + argc));
}

}  // namespace
}  // namespace stasis::bench

int main(int argc, char** argv) {
  FLAGS_logtostderr = true;
  FLAGS_minloglevel = google::GLOG_WARNING;
  google::InitGoogleLogging(argv[0]);
  return stasis::bench::Main(argc, argv);
}
