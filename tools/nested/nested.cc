#include "tools/nested/nested.h"

#include <errno.h>
#include <fcntl.h>
#include <glog/logging.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tools/kernels/kernel_store.h"
#include "tools/nested/emulator.h"
#include "tools/nested/host_kernel.h"
#include "tools/nested/initramfs.h"
#include "tools/nested/protocol.h"
#include "tools/nested/session.h"
#include "tools/nested/terminal.h"
#include "tools/nested/tsc_rate.h"
#include "tools/nested/unpacked_kernel.h"

namespace stasis {
namespace {

namespace fs = std::filesystem;
using nested::Emulator;
using nested::EmulatorConfig;
using nested::HostKernel;
using nested::OwnedFd;
using nested::SessionEnd;
using nested::SessionReport;

constexpr char kInNested[] = "STASIS_IN_NESTED";
constexpr size_t kMaxWritable = 16;
// Nothing to mitigate in a machine that runs one program of ours; every mitigation costs emulated
// instructions; so does every self-test. A panic ends the emulator at once (-no-reboot).
constexpr char kCommandLine[] =
    "console=ttyS0 quiet mitigations=off nokaslr nr_cpus=1 cryptomgr.notests panic=-1";

std::string EnvironmentOr(const char* name, const char* fallback) {
  const char* value = std::getenv(name);
  return value == nullptr || *value == '\0' ? fallback : value;
}

absl::StatusOr<std::string> RealPath(const std::string& path) {
  std::error_code error;
  std::string real = fs::canonical(path, error).string();
  if (!error) return real;
  return absl::InvalidArgumentError(absl::StrCat(path, ": ", error.message()));
}

// The program's own /proc, /sys and /dev hide those of this machine.
absl::Status CheckVisible(const std::string& path) {
  auto real = RealPath(path);
  if (!real.ok()) return real.status();
  for (const char* hidden : {"/proc", "/sys", "/dev"}) {
    if (*real == hidden || absl::StartsWith(*real, absl::StrCat(hidden, "/"))) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, " is not a file of this machine that the nested lane can share (",
                       *real, "); copy it to a regular file first"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<nested::Order> MakeOrder(const NestedOptions& options) {
  if (options.argv.empty() || !absl::StartsWith(options.argv[0], "/")) {
    return absl::InvalidArgumentError("the program to run inside needs an absolute path");
  }
  if (options.writable.size() > kMaxWritable) {
    return absl::InvalidArgumentError(absl::StrCat(options.writable.size(),
                                                   " writable directories; at most ", kMaxWritable,
                                                   " can be shared"));
  }
  nested::Order order;
  order.argv = options.argv;
  order.env = options.env;
  order.env.emplace_back(kInNested, "1");
  auto directory = RealPath(options.working_directory.empty() ? "." : options.working_directory);
  if (!directory.ok()) return directory.status();
  order.working_directory = *directory;
  for (const std::string& path : options.readable) {
    if (auto status = CheckVisible(path); !status.ok()) return status;
  }
  for (const std::string& path : options.writable) {
    if (auto status = CheckVisible(path); !status.ok()) return status;
    order.writable.push_back(*RealPath(path));
    if (order.writable.back() == "/") {
      return absl::InvalidArgumentError(
          "/ cannot be shared writable with the nested lane; name the directories");
    }
    if (!fs::is_directory(order.writable.back())) {
      return absl::InvalidArgumentError(absl::StrCat(path, " is not a directory"));
    }
  }
  // A parent is mounted before what lies in it; the same directory only once.
  std::sort(order.writable.begin(), order.writable.end());
  order.writable.erase(std::unique(order.writable.begin(), order.writable.end()),
                       order.writable.end());
  order.terminal[0] = isatty(options.stdin_fd) != 0;
  order.terminal[1] = isatty(options.stdout_fd) != 0;
  order.terminal[2] = isatty(options.stderr_fd) != 0;
  order.raw = options.interactive && order.terminal[0];
  for (int fd : {options.stdin_fd, options.stderr_fd, options.stdout_fd}) {
    if (isatty(fd)) order.window = nested::WindowOf(fd);
  }
  return order;
}

// The rate of the time-stamp counter, measured here and not calibrated by the emulated host, and
// never corrected later: kvm.ko keeps the rate of the moment when it is loaded, and compares it
// with the kernel's at that when a vCPU is made. If a refined calibration has moved the latter by
// more than 250 parts in a million meanwhile, kvm_set_tsc_khz (arch/x86/kvm/x86.c) fails, the
// vCPU's scaling ratio stays 0, KVM takes its guest's counter for standing still, and the timers of
// such a guest come at twice the time that they were set for: a guest that hangs. Seen on a loaded
// machine in about one boot in four. The refinement needs the HPET or the ACPI timer.
std::string TscArguments(uint32_t khz) {
  return khz == 0 ? "" : absl::StrCat(" tsc=reliable tsc_early_khz=", khz, " pmtmr=0 hpet=disable");
}

// Everything that a start needs and that stays the same when it is started again.
struct Plan {
  EmulatorConfig config;
  OwnedFd kernel;
  OwnedFd initramfs;
  std::string release;
  bool raw = false;
  bool read_stdin = false;
};

absl::StatusOr<HostKernel> ChooseKernel(const NestedHost& host, const std::string& cache) {
  const std::string name = host.kernel_directory.empty() ? EnvironmentOr("STASIS_NESTED_KERNEL", "")
                                                         : host.kernel_directory;
  return nested::FindHostKernel(name, cache + "/kernels");
}

absl::StatusOr<Plan> MakePlan(const NestedOptions& options) {
  const nested::TscRate tsc;
  auto order = MakeOrder(options);
  if (!order.ok()) return order.status();
  auto emulator = nested::FindEmulator();
  if (!emulator.ok()) return emulator.status();
  const auto cache = CacheDirectory(ProcessEnvironment());
  if (!cache.ok()) return cache.status();
  auto kernel = ChooseKernel(options.host, *cache);
  if (!kernel.ok()) return kernel.status();
  auto initramfs = nested::BuildInitramfs(*order, kernel->modules, options.host.kvm_amd_options);
  if (!initramfs.ok()) return initramfs.status();
  auto image = nested::UnpackKernel(kernel->image, *cache);
  if (!image.ok()) return image.status();
  Plan plan;
  plan.kernel = OwnedFd(*image);
  plan.initramfs = OwnedFd(*initramfs);
  plan.release = kernel->release;
  plan.raw = order->raw;
  plan.read_stdin = order->raw || !order->terminal[0];
  plan.config = {
      .program = *emulator,
      .machine = options.host.machine,
      .cpu = options.host.cpu,
      .kernel_fd = *image,
      .initramfs_fd = *initramfs,
      .append = absl::StrCat(kCommandLine, TscArguments(tsc.Khz()), " ", options.host.append),
      .memory_mib = options.memory_mib,
      .writable = order->writable};
  return plan;
}

// Returns the path, or what kept it from being written.
std::string WriteEvidence(const NestedOptions& options, const std::string& text) {
  static std::atomic<int> count{0};
  const std::string directory =
      !options.evidence_directory.empty()
          ? options.evidence_directory
          : EnvironmentOr("TEST_UNDECLARED_OUTPUTS_DIR", EnvironmentOr("TMPDIR", "/tmp").c_str());
  const std::string path =
      absl::StrCat(directory, "/stasis-nested-", getpid(), "-", ++count, ".log");
  std::ofstream file(path);
  file << text;
  file.close();
  return file ? path : absl::StrCat("(could not write ", path, ": ", strerror(errno), ")");
}

std::string LastLines(const std::string& text) {
  constexpr size_t kBytes = 400;
  return text.size() > kBytes ? text.substr(text.size() - kBytes) : text;
}

absl::Status LaneFault(const NestedOptions& options, const Plan& plan, const SessionReport& report,
                       Emulator& emulator) {
  const bool died = report.end == SessionEnd::kDied;
  const std::string registers = died ? "" : emulator.SampleRegisters(3);
  const std::string ended = emulator.Kill();
  const std::string evidence =
      absl::StrCat("emulated host: ", report.reason, "\nkernel: ", plan.release, " ",
                   report.host_kernel, "\nmachine: ", plan.config.machine,
                   ", cpu: ", plan.config.cpu, "\ncommand line: ", plan.config.append,
                   "\nbeats: ", report.beats, "\nemulator: ", died ? ended : "was running", "\n",
                   emulator.ErrorOutput(), "\n== console\n", report.console, "\n", registers);
  const std::string path = WriteEvidence(options, evidence);
  const std::string text = absl::StrCat(
      "nested lane: the emulated host ", died ? absl::StrCat("died (", ended, ")") : report.reason,
      "; a fault of the lane, not of what ran in it; evidence in ", path,
      died ? absl::StrCat("; last output: ", LastLines(emulator.ErrorOutput()),
                          LastLines(report.console))
           : "");
  return report.end == SessionEnd::kTimeLimit
             ? absl::DeadlineExceededError(absl::StrCat("nested lane: ", report.reason,
                                                        " reached; state of the emulated host in ",
                                                        path))
             : absl::UnavailableError(text);
}

// A descriptor made for a channel must not be 0, 1 or 2, which the emulator gets as its own.
void FillStandardDescriptors() {
  int fd = open("/dev/null", O_RDWR);
  while (fd >= 0 && fd <= 2) fd = open("/dev/null", O_RDWR);
  if (fd >= 0) close(fd);
}

struct Attempt {
  absl::StatusOr<NestedResult> result;
  bool touched = true;  // bytes of stdin or of the output have moved
  bool hung = false;
};

Attempt RunOnce(const NestedOptions& options, const Plan& plan, int signals, absl::Time start) {
  auto emulator = Emulator::Start(plan.config);
  if (!emulator.ok()) return {emulator.status()};
  const nested::Channels& channels = (*emulator)->channels();
  nested::SessionFds fds = {.control = channels.control.get(),
                            .in = channels.in.get(),
                            .out = channels.out.get(),
                            .err = channels.err.get(),
                            .console = channels.console.get(),
                            .ended = (*emulator)->pidfd(),
                            .signals = signals,
                            .stdin_fd = plan.read_stdin ? options.stdin_fd : -1,
                            .stdout_fd = options.stdout_fd,
                            .stderr_fd = options.stderr_fd};
  const nested::SessionLimits limits = {
      .time = options.time_limit, .silence = options.silence_limit, .boot = options.boot_limit};
  const SessionReport report = nested::Session(fds, limits, start).Run();
  Attempt attempt;
  attempt.touched = report.bytes_in + report.bytes_out > 0;
  attempt.hung = report.end == SessionEnd::kHung;
  switch (report.end) {
    case SessionEnd::kExited:
    case SessionEnd::kInterrupted:
      attempt.result = NestedResult{.exit_code = report.exit_code,
                                    .host_kernel = report.host_kernel,
                                    .start_up = report.start_up,
                                    .total = absl::Now() - start,
                                    .longest_silence = report.longest_silence};
      break;
    case SessionEnd::kFailed:
      attempt.result = absl::FailedPreconditionError(absl::StrCat("nested lane: ", report.reason));
      break;
    case SessionEnd::kHung:
    case SessionEnd::kDied:
    case SessionEnd::kTimeLimit:
      attempt.result = LaneFault(options, plan, report, **emulator);
      break;
  }
  return attempt;
}

}  // namespace

absl::StatusOr<NestedResult> RunNested(const NestedOptions& options) {
  const absl::Time start = absl::Now();
  FillStandardDescriptors();
  auto plan = MakePlan(options);
  if (!plan.ok()) return plan.status();
  nested::SignalPipe signals;
  nested::RawTerminal raw(plan->raw ? options.stdin_fd : -1);
  Attempt attempt = RunOnce(options, *plan, signals.fd(), start);
  if (!attempt.hung || attempt.touched || !options.retry_hang) return attempt.result;
  LOG(WARNING) << attempt.result.status().message() << "; starting it once more";
  attempt = RunOnce(options, *plan, signals.fd(), absl::Now());
  if (attempt.result.ok()) attempt.result->hangs = 1;
  return attempt.result;
}

absl::Status CheckNested(const NestedHost& host) {
  auto emulator = nested::FindEmulator();
  if (!emulator.ok()) return emulator.status();
  const auto cache = CacheDirectory(ProcessEnvironment());
  return cache.ok() ? ChooseKernel(host, *cache).status() : cache.status();
}

bool InNested() { return std::getenv(kInNested) != nullptr; }

}  // namespace stasis
