// stasis shell: a shell, or one command, in a guest.
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <memory>

#include "tools/harness/guest_shell.h"
#include "tools/stasis/command.h"

namespace stasis {
namespace {

struct ShellOptions {
  MachineOptions machine;
  std::string exec;
  std::vector<std::string> include;
  bool has_exec = false;
};

int Shell(const ShellOptions& options, const Invocation& invocation) {
  absl::StatusOr<GuestRequest> request = RequestFrom(options.machine);
  if (!request.ok()) return Complain(FindingFromStatus(Layer::kNone, request.status()));
  request->shell = true;
  request->include = options.include;
  LaneChoice lane = ChooseLaneFor(options.machine);
  if (!lane.lane.has_value()) return Complain(lane.finding);
  ProgressLine progress(STDERR_FILENO, ProgressStyle(options.machine));
  GuestSetupResult prepared = PrepareHere(*request, &progress);
  if (!prepared.setup.has_value()) return Complain(prepared.finding);
  const absl::Duration asked = options.machine.time_limit_seconds > 0
                                   ? absl::Seconds(options.machine.time_limit_seconds)
                                   : absl::InfiniteDuration();
  if (lane.lane->nested) {
    return RunNestedCommand(invocation, *prepared.setup, {}, asked + absl::Seconds(120),
                            /*interactive=*/!options.has_exec && isatty(STDIN_FILENO));
  }
  GuestShellOptions shell{.append = options.machine.append,
                          .verbose = options.machine.verbose,
                          .time_limit = asked,
                          .patience = Patience(),
                          .boot_limit = BootLimit(options.machine)};
  if (options.has_exec) shell.command = options.exec;
  const GuestShellResult result = RunGuestShell(*prepared.setup, shell, &progress);
  progress.Clear();
  return result.finding.has_value() ? Complain(*result.finding) : result.exit_code;
}

}  // namespace

void AddShellCommand(CLI::App* app, Invocation* invocation) {
  auto options = std::make_shared<ShellOptions>();
  CLI::App* command = app->add_subcommand("shell", "Opens a shell in a guest, or runs one command");
  AddMachineOptions(command, &options->machine);
  CLI::Option* exec = command->add_option(
      "--exec", options->exec, "Runs this with /bin/sh: its output and exit code become ours");
  command->add_option("--include", options->include,
                      "Puts a host file in, at the same path, with the libraries that it needs");
  command->footer(
      "Examples:\n"
      "  stasis shell --topology 2c2t\n"
      "  stasis shell --exec 'cat /proc/schedstat' > schedstat.txt\n"
      "  stasis shell --include /usr/bin/stress-ng --exec 'stress-ng --cpu 4 -t 5'");
  command->callback([options, exec, invocation] {
    options->has_exec = exec->count() > 0;
    invocation->action = [options, invocation] { return Shell(*options, *invocation); };
  });
}

}  // namespace stasis
