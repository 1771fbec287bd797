// stasis boot: a plain boot with the guest's consoles on the terminal.
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <memory>

#include "absl/strings/str_cat.h"
#include "tools/harness/console_io.h"
#include "tools/harness/files.h"
#include "tools/harness/guest_cmdline.h"
#include "tools/harness/guest_session.h"
#include "tools/stasis/command.h"

namespace stasis {
namespace {

struct BootOptions {
  MachineOptions machine;
  std::string initrd;
  std::string dump_fdt;
  std::string dump_acpi;
  bool no_boot = false;
};

absl::Status DumpDescriptions(const BootOptions& options, const Machine& machine) {
  if (!options.dump_fdt.empty()) {
    absl::Status status = WriteFileAtomically(options.dump_fdt, machine.device_tree().blob());
    if (!status.ok()) return status;
  }
  if (options.dump_acpi.empty()) return absl::OkStatus();
  for (const auto& [signature, table] : machine.acpi_tables()) {
    absl::Status status =
        WriteFileAtomically(absl::StrCat(options.dump_acpi, "/", signature, ".aml"), table);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status MakeDirectory(const std::string& path) {
  if (path.empty() || mkdir(path.c_str(), 0777) == 0 || errno == EEXIST) return absl::OkStatus();
  return absl::ErrnoToStatus(errno, absl::StrCat("create directory ", path));
}

int BootHere(const BootOptions& options, const GuestSetup& setup, const DumpSettings& dump,
             ProgressLine* progress) {
  GuestSessionOptions session_options;
  session_options.machine = setup.machine;
  session_options.initrd = setup.initrd;
  session_options.disks = setup.disks;
  session_options.agent = false;
  session_options.dump = dump;
  session_options.kernel_path = setup.kernel_path;
  session_options.kernel_release = setup.kernel.release();
  session_options.lane = LaneName();
  // A person looks at the console: all kernel messages are shown.
  session_options.cmdline = GuestCmdline({.discovery = setup.machine.discovery,
                                          .verbose = true,
                                          .agent = false,
                                          .user_append = options.machine.append});
  if (options.machine.time_limit_seconds > 0) {
    session_options.total_limit = absl::Seconds(options.machine.time_limit_seconds);
  }
  absl::StatusOr<std::unique_ptr<GuestSession>> session =
      GuestSession::Create(session_options, setup.kernel);
  if (!session.ok()) return Complain(HostError(session.status()));
  absl::Status dumped = DumpDescriptions(options, (*session)->machine());
  if (!dumped.ok()) return Complain(HostError(dumped));
  progress->Clear();
  if (options.no_boot) return 0;
  if (isatty(STDIN_FILENO)) fprintf(stderr, "stasis: Ctrl-A x leaves\n");

  absl::StatusOr<std::unique_ptr<ConsoleIo>> console =
      ConsoleIo::Create(session->get(), {.serial = true, .hvc0 = true, .escape_keys = true});
  if (!console.ok()) return Complain(HostError(console.status()));
  absl::StatusOr<GuestEndFacts> end = (*session)->Run();
  (*console)->Finish();
  if (!end.ok()) return Complain(HostError(end.status()));
  std::optional<Finding> finding = JudgeGuestEnd(*end);
  if (!finding.has_value()) return 0;
  if (!end->machine_end.registers.empty()) {
    fprintf(stderr, "%s\n", end->machine_end.registers.c_str());
  }
  return Complain(*finding);
}

int Boot(const BootOptions& options, const Invocation& invocation) {
  absl::StatusOr<GuestRequest> request = RequestFrom(options.machine);
  if (!request.ok()) return Complain(FindingFromStatus(Layer::kNone, request.status()));
  request->agent = false;
  request->initrd = options.initrd;
  absl::StatusOr<DumpSettings> dump = DumpSettingsFrom(options.machine);
  if (!dump.ok()) return Complain(FindingFromStatus(Layer::kNone, dump.status()));
  absl::Status made = MakeDirectory(options.dump_acpi);
  if (!made.ok()) return Complain(HostError(made));
  MachineOptions machine = options.machine;
  // Any KVM can make a machine; only running a kernel in it takes more.
  if (options.no_boot && machine.accel == "auto") machine.accel = "kvm";
  LaneChoice lane = ChooseLaneFor(machine);
  if (!lane.lane.has_value()) return Complain(lane.finding);
  ProgressLine progress(STDERR_FILENO, ProgressLine::StyleFor(STDERR_FILENO));
  GuestSetupResult prepared = PrepareHere(*request, &progress);
  if (!prepared.setup.has_value()) return Complain(prepared.finding);
  if (lane.lane->nested) {
    const absl::Duration limit =
        options.machine.time_limit_seconds > 0
            ? absl::Seconds(options.machine.time_limit_seconds) + absl::Seconds(120)
            : absl::InfiniteDuration();
    const DumpDirectory dumps = WritableDumpDirectory(*dump);
    const int code = RunNestedCommand(
        invocation, *prepared.setup,
        {DirectoryOf(options.dump_fdt), AbsolutePath(options.dump_acpi), dumps.path}, limit,
        /*interactive=*/isatty(STDIN_FILENO));
    RemoveIfUnused(dumps);
    return code;
  }
  return BootHere(options, *prepared.setup, *dump, &progress);
}

}  // namespace

void AddBootCommand(CLI::App* app, Invocation* invocation) {
  auto options = std::make_shared<BootOptions>();
  CLI::App* command =
      app->add_subcommand("boot", "Boots a kernel with its console on the terminal");
  AddMachineOptions(command, &options->machine);
  command->add_option("--initrd", options->initrd, "Initramfs; without one the kernel is alone");
  command->add_option("--dump-fdt", options->dump_fdt,
                      "Writes the device tree that describes the machine");
  command->add_option("--dump-acpi", options->dump_acpi,
                      "Writes the ACPI tables into this folder, one file each");
  command->add_flag("--no-boot", options->no_boot, "Ends behind the dumps, without booting");
  command->footer(
      "Ctrl-A x leaves, Ctrl-A a sends Ctrl-A.\n"
      "Examples:\n"
      "  stasis boot --kernel 6.12 --initrd my.img --append 'root=/dev/ram0'\n"
      "  stasis boot --topology 2n4l2c2t --dump-fdt machine.dtb --dump-acpi tables --no-boot");
  command->callback([options, invocation] {
    invocation->action = [options, invocation] { return Boot(*options, *invocation); };
  });
}

}  // namespace stasis
