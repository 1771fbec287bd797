#include "tools/stasis/command.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tools/harness/files.h"
#include "tools/harness/guest_session.h"
#include "tools/harness/startup_trace.h"
#include "tools/nested/nested.h"
#include "tools/stasis/monitor_options.h"
#include "tools/stasis/seconds_check.h"

namespace stasis {
namespace {

// Names the initramfs to the program inside the emulated host.
constexpr char kPreparedInitrd[] = "STASIS_PREPARED_INITRD";

}  // namespace

void AddMachineOptions(CLI::App* command, MachineOptions* options) {
  command->add_option("--kernel", options->kernel,
                      "Path of an image, build tree, or name in the cache ('stasis kernel list'); "
                      "default: $STASIS_KERNEL, the cache, this host's own kernel");
  command->add_option("--topology", options->topology,
                      "NUMA nodes, LLCs in all, cores per LLC, threads per core: 1n2l4c2t");
  command->add_option("--memory", options->memory, "Guest memory with a unit: 512M, 2G");
  command->add_option("--append", options->append, "Words added to the kernel command line");
  command->add_option("--discovery", options->discovery,
                      "How the guest finds its devices: auto, acpi, cmdline, fdt");
  command
      ->add_option("--accel", options->accel,
                   "Where the machine runs: auto, kvm (this host), nested (emulated host)")
      ->envname("STASIS_ACCEL");
  command
      ->add_option("--time-limit", options->time_limit_seconds,
                   "Ends the guest after that many seconds")
      ->check(SecondsAboveZero());
  command
      ->add_option("--boot-limit", options->boot_limit_seconds,
                   "The guest's agent must be there after that many seconds (default: 60, and 180 "
                   "in the nested lane)")
      ->check(SecondsAboveZero());
  command
      ->add_option("--dump", options->dump,
                   "When to write a dump of the machine: never, fail (and when asked for), always")
      ->envname("STASIS_DUMP")
      ->check(CLI::IsMember({"never", "fail", "always"}));
  command->add_option("--dump-dir", options->dump_directory, "Where dumps are written")
      ->capture_default_str();
  command
      ->add_option("--disk", options->disks,
                   "A virtio disk: FILE, or scratch:SIZE without a file, then any of ,ro ,direct "
                   ",iops=N ,bps=SIZE ,burst=TIME ,queues=N ,engine=uring|sync ,bad=OFFSET+LENGTH; "
                   "may be given again")
      ->allow_extra_args(false);
  command->add_option("--io-cpus", options->io_cpus,
                      "CPUs of this host on which the disks' workers run, as 0-1,3");
  command
      ->add_option("--module", options->modules,
                   "Loads a module of the kernel in the guest, with what it depends on; may be "
                   "given again")
      ->allow_extra_args(false);
  command->add_flag("--huge-pages", options->huge_pages, "Guest memory on transparent huge pages");
  command->add_flag("--kaslr", options->kaslr,
                    "The guest unpacks its kernel itself and moves it (KASLR); boots slower");
  command->add_flag("--verbose,-v", options->verbose, "The guest's console on stderr");
}

absl::StatusOr<GuestRequest> RequestFrom(const MachineOptions& options) {
  GuestRequest request;
  request.kernel = options.kernel;
  request.topology = options.topology;
  request.memory = options.memory;
  request.huge_pages = options.huge_pages;
  request.kaslr = options.kaslr;
  request.modules = options.modules;
  // The emulated host has one CPU.
  absl::StatusOr<DiskSettings> disks =
      ParseDiskSettings(options.disks, InNested() ? "" : options.io_cpus);
  if (!disks.ok()) return disks.status();
  request.disks = *std::move(disks);
  absl::StatusOr<Discovery> discovery = ParseDiscovery(options.discovery);
  if (!discovery.ok()) return discovery.status();
  request.discovery = *discovery;
  const char* prepared = getenv(kPreparedInitrd);
  if (InNested() && prepared != nullptr) request.initrd = prepared;
  absl::Status machine = ParseMachine(request).status();
  if (!machine.ok()) return machine;
  return request;
}

absl::StatusOr<DumpSettings> DumpSettingsFrom(const MachineOptions& options) {
  absl::StatusOr<DumpWhen> when = ParseDumpWhen(options.dump);
  if (!when.ok()) return when.status();
  return DumpSettings{.when = *when, .directory = options.dump_directory};
}

DumpDirectory WritableDumpDirectory(const DumpSettings& settings) {
  if (settings.when == DumpWhen::kNever) return {};
  const std::string path = AbsolutePath(settings.directory);
  if (mkdir(path.c_str(), 0777) == 0) return {path, true};
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) return {path, false};
  return {};
}

void RemoveIfUnused(const DumpDirectory& directory) {
  if (directory.made) rmdir(directory.path.c_str());
}

LaneChoice ChooseLaneFor(const MachineOptions& options) {
  absl::StatusOr<Accel> accel = ParseAccel(options.accel);
  if (!accel.ok()) return {std::nullopt, FindingFromStatus(Layer::kNone, accel.status())};
  absl::StatusOr<Lane> lane = ChooseLane(*accel);
  MarkStartup("lane");
  if (!lane.ok()) return {std::nullopt, FindingFromStatus(Layer::kHost, lane.status())};
  if (!lane->note.empty()) fprintf(stderr, "stasis: %s\n", lane->note.c_str());
  if (lane->nested && !options.io_cpus.empty()) {
    fprintf(stderr,
            "stasis: --io-cpus has no effect in the nested lane, whose host has one CPU\n");
  }
  return {*std::move(lane), Finding()};
}

int RunNestedCommand(const Invocation& invocation, const GuestSetup& prepared,
                     const std::vector<std::string>& writable, absl::Duration time_limit,
                     bool interactive, const ShownGuest* shown) {
  NestedCommand command;
  command.argv = invocation.argv;
  command.environment = {{kPreparedInitrd, prepared.initrd}};
  absl::StatusOr<std::vector<std::shared_ptr<BackingFile>>> held = HoldDisks(prepared.disks);
  if (!held.ok()) return Complain(HostError(held.status()));
  command.writable = WritableDiskDirectories(prepared.disks);
  for (const std::string& directory : std::set<std::string>(writable.begin(), writable.end())) {
    if (!directory.empty()) command.writable.push_back(directory);
  }
  if (shown != nullptr && !shown->directory().empty()) {
    command.writable.push_back(shown->directory());
    command.environment.emplace_back(kLiveFileVariable, shown->file());
  }
  command.time_limit = time_limit;
  command.interactive = interactive;
  absl::StatusOr<int> code = RunInNestedLane(command);
  if (code.ok()) return *code;
  return Complain(HostError(code.status()));
}

Finding HostError(const absl::Status& status) {
  Finding finding = FindingFromStatus(Layer::kHost, status);
  finding.verdict = Verdict::kError;
  return finding;
}

ProgressLine::Style ProgressStyle(const MachineOptions& options) {
  return options.verbose ? ProgressLine::Style::kLines : ProgressLine::StyleFor(STDERR_FILENO);
}

GuestSetupResult PrepareHere(const GuestRequest& request, ProgressLine* progress) {
  ProgressLine silent(STDERR_FILENO, ProgressLine::Style::kSilent);
  GuestSetupResult result = PrepareGuest(request, InNested() ? &silent : progress);
  progress->Clear();
  return result;
}

absl::Duration BootLimit(const MachineOptions& options) {
  return options.boot_limit_seconds > 0 ? absl::Seconds(options.boot_limit_seconds)
                                        : GuestSessionOptions().boot_limit * Patience();
}

bool EmulatedHost() { return InNested(); }

std::string LaneName() { return InNested() ? "nested" : "kvm"; }

double Patience() { return InNested() ? 3 : 1; }

int Complain(const Finding& finding) {
  fprintf(stderr, "%s\n", FirstLine(finding).c_str());
  return finding.exit_code();
}

std::string DirectoryOf(const std::string& path) {
  if (path.empty()) return "";
  return std::filesystem::path(AbsolutePath(path)).parent_path().string();
}

}  // namespace stasis
