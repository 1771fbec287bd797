// bench/boot: how fast stasis boots a guest and what it takes, beside QEMU's microvm machine.
#include <glog/logging.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "nlohmann/json.hpp"
#include "tools/bench/bench_lane.h"
#include "tools/bench/boots.h"
#include "tools/bench/report.h"
#include "tools/harness/files.h"
#include "tools/harness/guest_cmdline.h"
#include "tools/harness/guest_setup.h"
#include "tools/harness/initramfs/files.h"
#include "tools/harness/initramfs/initramfs.h"
#include "tools/harness/lane.h"
#include "tools/kernels/kernel_store.h"
#include "tools/nested/nested.h"
#include "vmm/boot/unpack_cache.h"
#include "vmm/kvm/kvm.h"

namespace stasis::bench {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr uint64_t kMostKernelBytes = uint64_t{256} << 20;
// What was found out or measured outside is told to the program inside the emulated host.
constexpr char kContextVariable[] = "STASIS_BENCH_CONTEXT";

struct Options {
  int runs = 10;
  std::string kernel;
  std::vector<uint32_t> cpus = {1, 2};
  std::string memory = "512M";
  std::string accel = "auto";
  std::string json;
  std::string qemu = "/usr/bin/qemu-system-x86_64";
  double boot_limit_seconds = 120;
};

// Known outside, the same inside.
struct Context {
  std::string elf;  // the ELF image in the kernel, if QEMU can boot it
  std::string host_cpu;
  uint32_t host_cpus = 0;
  double load_before = 0;
  std::string stasis_version;
  std::string qemu_version;
  std::vector<Startup> host_startups;

  std::string ToText() const {
    return json{{"elf", elf},
                {"host_cpu", host_cpu},
                {"host_cpus", host_cpus},
                {"load_before", load_before},
                {"stasis_version", stasis_version},
                {"qemu_version", qemu_version},
                {"host_startups", StartupsToJson(host_startups)}}
        .dump();
  }
  static Context FromText(const std::string& text) {
    const json object = json::parse(text, nullptr, false);
    if (!object.is_object()) return {};
    return {.elf = object.value("elf", ""),
            .host_cpu = object.value("host_cpu", ""),
            .host_cpus = object.value("host_cpus", 0u),
            .load_before = object.value("load_before", 0.0),
            .stasis_version = object.value("stasis_version", ""),
            .qemu_version = object.value("qemu_version", ""),
            .host_startups = StartupsFromJson(object.value("host_startups", json::array()))};
  }
};

// The ELF image that QEMU boots by PVH: the kernel itself, or what its bzImage was unpacked to.
// Empty without a PVH note.
std::string PvhImage(const GuestSetup& setup) {
  if (!setup.kernel.pvh_entry().has_value()) return "";
  if (setup.kernel.kind() == KernelKind::kElf) return setup.kernel_path;
  absl::StatusOr<std::string> packed = ReadWholeFile(setup.kernel_path, kMostKernelBytes);
  if (!packed.ok()) return "";
  const std::string unpacked =
      absl::StrCat(KernelStore(stasis::CacheDirectory()).cache_directory(), "/unpacked/",
                   Sha256Hex(absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(packed->data()),
                                                 packed->size())),
                   ".vmlinux");
  return access(unpacked.c_str(), R_OK) == 0 ? unpacked : "";
}

absl::StatusOr<GuestSetup> Prepare(const Options& options) {
  GuestRequest request;
  request.kernel = options.kernel;
  request.memory = options.memory;
  request.shell = true;
  return PrepareQuietly(std::move(request));
}

BootSpec SpecOf(const Options& options, const GuestSetup& setup, const std::string& stasis,
                const std::string& scratch) {
  return {.stasis = stasis,
          .qemu = options.qemu,
          .kernel = setup.kernel_path,
          .initrd = setup.initrd,
          .cmdline = GuestCmdline({.discovery = setup.machine.discovery}),
          .acpi = setup.machine.discovery == Discovery::kAcpi,
          .scratch_directory = scratch,
          .memory_bytes = setup.machine.memory_bytes,
          .limit = absl::Seconds(options.boot_limit_seconds)};
}

// A boot that fails is told, and tried once more: an emulated host loses one now and then.
template <typename Result>
absl::StatusOr<Result> WithRetry(const std::function<absl::StatusOr<Result>()>& boot,
                                 std::vector<std::string>* failures) {
  absl::StatusOr<Result> result = boot();
  if (result.ok()) return result;
  failures->push_back(std::string(result.status().message()));
  fprintf(stderr, "bench: %s; once more\n", failures->back().c_str());
  return boot();
}

absl::Status MeasureRound(const BootSpec& spec, const std::string& elf, CpuCountResult* result,
                          std::vector<std::string>* failures) {
  std::string line;
  auto note = [&line](const char* name, const Boot& boot) {
    absl::StrAppendFormat(&line, "  %s %.2f s", name, absl::ToDoubleSeconds(boot.to_hello));
  };
  auto ours = WithRetry<StasisBoot>([&] { return BootInStasis(spec); }, failures);
  if (!ours.ok()) return ours.status();
  note("stasis", ours->boot);
  result->stasis.push_back(*std::move(ours));
  auto same = WithRetry<Boot>([&] { return BootInQemu(spec, spec.kernel); }, failures);
  if (!same.ok()) return same.status();
  note("QEMU", *same);
  result->qemu_same_file.push_back(*std::move(same));
  if (!elf.empty() && elf != spec.kernel) {
    auto by_pvh = WithRetry<Boot>([&] { return BootInQemu(spec, elf); }, failures);
    if (!by_pvh.ok()) return by_pvh.status();
    note("QEMU with the ELF image", *by_pvh);
    result->qemu_elf.push_back(*std::move(by_pvh));
  }
  fprintf(stderr, "%s\n", line.c_str());
  return absl::OkStatus();
}

absl::Status Measure(const Options& options, BootSpec spec, const std::string& elf,
                     BenchReport* report) {
  CpuCountResult warm_up;  // page caches, the kernel's place in ours
  fprintf(stderr, "bench: warming up\n");
  if (absl::Status status = MeasureRound(spec, elf, &warm_up, &report->failures); !status.ok()) {
    return status;
  }
  for (const uint32_t cpus : options.cpus) {
    spec.cpus = cpus;
    CpuCountResult result{.cpus = cpus};
    for (int round = 1; round <= options.runs; ++round) {
      fprintf(stderr, "bench: %d vCPU%s, round %d of %d\n", cpus, cpus == 1 ? "" : "s", round,
              options.runs);
      absl::Status status = MeasureRound(spec, elf, &result, &report->failures);
      if (!status.ok()) return status;
    }
    report->results.push_back(std::move(result));
  }
  return absl::OkStatus();
}

int MeasureHere(const Options& options, const GuestSetup& setup, const BootSpec& spec,
                const Context& context) {
  BenchReport report;
  report.lane = InNested() ? "nested" : "kvm";
  report.kernel_release = setup.kernel.release();
  report.kernel_path = setup.kernel_path;
  report.stasis = context.stasis_version;
  report.qemu = context.qemu_version;
  report.host_cpu = context.host_cpu;
  report.host_cpus = context.host_cpus;
  report.load_before = context.load_before;
  report.host_startups = context.host_startups;
  absl::Status status = Measure(options, spec, context.elf, &report);
  if (!status.ok()) return Fail(status);
  if (!InNested()) report.load_after = HostLoad();
  printf("%s", TextReport(report).c_str());
  fflush(stdout);
  if (options.json.empty()) return 0;
  const std::string text =
      JsonReport(report).dump(2, ' ', false, json::error_handler_t::replace) + "\n";
  absl::Status written = WriteFileAtomically(options.json, text);
  return written.ok() ? 0 : Fail(written);
}

// On the host's own KVM, which need not be able to finish the boot.
std::vector<Startup> MeasureStartups(const Options& options, const BootSpec& spec) {
  std::vector<Startup> startups;
  if (access(kvm::KvmDevicePath().c_str(), R_OK | W_OK) != 0) return startups;
  fprintf(stderr, "bench: %d start-ups on this host's own KVM\n", options.runs);
  for (int run = 0; run <= options.runs; ++run) {
    absl::StatusOr<Startup> startup = StartStasis(spec);
    if (!startup.ok()) {
      fprintf(stderr, "bench: %s\n", std::string(startup.status().message()).c_str());
      return startups;
    }
    if (run > 0) startups.push_back(*std::move(startup));  // the first one warms up
  }
  return startups;
}

int MeasureInNestedLane(const Options& options, const std::vector<std::string>& argv,
                        const BootSpec& spec, Context context) {
  context.host_startups = MeasureStartups(options, spec);
  NestedCommand command;
  command.argv = argv;
  command.environment = {{kContextVariable, context.ToText()}, {kPreparedInitrd, spec.initrd}};
  if (!options.json.empty()) {
    command.writable = {fs::path(AbsolutePath(options.json)).parent_path().string()};
  }
  absl::StatusOr<int> code = RunInNestedLane(command);
  if (!code.ok()) return Fail(code.status());
  fprintf(stderr, "bench: load of the host at the end: %.1f\n", HostLoad());
  return *code;
}

int Run(const Options& options, const std::vector<std::string>& argv) {
  char scratch[] = "/tmp/stasis-bench-XXXXXX";
  if (mkdtemp(scratch) == nullptr) return Fail(absl::ErrnoToStatus(errno, "mkdtemp"));
  auto remove = absl::MakeCleanup([&scratch] {
    std::error_code ignored;
    fs::remove_all(scratch, ignored);
  });
  absl::StatusOr<std::string> stasis = FindStasis();
  if (!stasis.ok()) return Fail(stasis.status());
  absl::StatusOr<Accel> accel = ParseAccel(options.accel);
  if (!accel.ok()) return Fail(accel.status());
  absl::StatusOr<Lane> lane = ChooseLane(*accel);
  if (!lane.ok()) return Fail(lane.status());
  if (!lane->note.empty()) fprintf(stderr, "bench: %s\n", lane->note.c_str());

  if (InNested()) {
    absl::Status made = MakeCacheInside(scratch);
    if (!made.ok()) return Fail(made);
  }
  absl::StatusOr<GuestSetup> setup = Prepare(options);
  if (!setup.ok()) return Fail(setup.status());
  const BootSpec spec = SpecOf(options, *setup, *stasis, scratch);
  const char* told = getenv(kContextVariable);
  if (InNested() && told != nullptr) {
    return MeasureHere(options, *setup, spec, Context::FromText(told));
  }
  const Context context{.elf = PvhImage(*setup),
                        .host_cpu = HostCpu(),
                        .host_cpus = static_cast<uint32_t>(sysconf(_SC_NPROCESSORS_ONLN)),
                        .load_before = HostLoad(),
                        .stasis_version = FirstLineOf({*stasis, "--version"}),
                        .qemu_version = FirstLineOf({options.qemu, "--version"})};
  return lane->nested ? MeasureInNestedLane(options, argv, spec, context)
                      : MeasureHere(options, *setup, spec, context);
}

int Main(int argc, char** argv) {
  Options options;
  CLI::App app(
      "Boots one guest in stasis and in QEMU's microvm machine, in turns, and compares: time to "
      "the agent's first line, CPU time to the first KVM_RUN, memory beyond the guest's.",
      "boot");
  app.add_option("--runs", options.runs, "Boots of each kind and number of vCPUs")
      ->check(CLI::PositiveNumber);
  app.add_option("--kernel", options.kernel, "As for 'stasis run --kernel'");
  app.add_option("--cpus", options.cpus, "Numbers of vCPUs: 1,2")->delimiter(',');
  app.add_option("--memory", options.memory, "Guest memory");
  app.add_option("--accel", options.accel, "auto, kvm, nested")->envname("STASIS_ACCEL");
  app.add_option("--qemu", options.qemu, "Path of QEMU");
  app.add_option("--boot-limit", options.boot_limit_seconds, "Seconds until a boot has failed")
      ->check(CLI::PositiveNumber);
  app.add_option("--json", options.json, "Writes every run to this file as JSON");
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
