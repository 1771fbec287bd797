// stasis shell: a shell, or one command, in a guest.
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <memory>

#include "nlohmann/json.hpp"
#include "tools/harness/files.h"
#include "tools/harness/guest_shell.h"
#include "tools/harness/startup_trace.h"
#include "tools/stasis/command.h"
#include "tools/stasis/monitor_options.h"

namespace stasis {
namespace {

struct ShellOptions {
  MachineOptions machine;
  MonitorOptions monitor;
  std::string exec;
  std::string json;
  std::vector<std::string> include;
  bool has_exec = false;
  int freeze_stress = 0;
};

// A command that is over by then is not looked at.
constexpr absl::Duration kMonitorDelay = absl::Seconds(1);

int64_t MonotonicNs(absl::Time at) { return absl::ToUnixNanos(at); }

// docs/result-json.md, "The result of stasis shell".
std::string JsonText(const GuestShellResult& result) {
  nlohmann::json object;
  object["format"] = "stasis.shell/1";
  object["lane"] = LaneName();
  object["exit_code"] = result.finding.has_value() ? result.finding->exit_code() : result.exit_code;
  object["message"] = result.finding.has_value() ? result.finding->what : "";
  nlohmann::json times = {{"to_first_run_ns", absl::ToInt64Nanoseconds(result.times.to_first_run)},
                          {"to_hello_ns", absl::ToInt64Nanoseconds(result.times.to_hello)},
                          {"total_ns", absl::ToInt64Nanoseconds(result.times.total)}};
  if (result.times.first_run != absl::InfiniteFuture()) {
    times["first_run_monotonic_ns"] = MonotonicNs(result.times.first_run);
    times["cpu_to_first_run_ns"] = absl::ToInt64Nanoseconds(result.times.cpu_to_first_run);
  }
  if (result.times.hello != absl::InfiniteFuture()) {
    times["hello_monotonic_ns"] = MonotonicNs(result.times.hello);
  }
  object["times"] = std::move(times);
  nlohmann::json dumps = nlohmann::json::array();
  for (const DumpRecord& dump : result.dumps) {
    dumps.push_back({{"trigger", dump.trigger}, {"path", dump.path}, {"error", dump.error}});
  }
  object["dumps"] = std::move(dumps);
  if (!result.disks.empty()) object["disks"] = result.disks;
  if (!result.monitor.is_null()) object["monitor"] = result.monitor;
  object["process"] = {{"threads_at_hello", result.times.use_at_hello.threads},
                       {"threads_at_end", result.times.use_at_end.threads},
                       {"descriptors_at_hello", result.times.use_at_hello.descriptors},
                       {"descriptors_at_end", result.times.use_at_end.descriptors}};
  const FreezeLatencies& latencies = result.freezes.latencies;
  object["freezes"] = {{"count", latencies.count},
                       {"incomplete", result.freezes.incomplete},
                       {"p50_ns", absl::ToInt64Nanoseconds(latencies.p50)},
                       {"p99_ns", absl::ToInt64Nanoseconds(latencies.p99)},
                       {"max_ns", absl::ToInt64Nanoseconds(latencies.max)}};
  nlohmann::json stages = nlohmann::json::array();
  for (const StartupStage& stage : StartupStages()) {
    stages.push_back({{"finished", stage.finished},
                      {"monotonic_ns", MonotonicNs(stage.at)},
                      {"cpu_ns", absl::ToInt64Nanoseconds(stage.cpu)}});
  }
  object["startup"] = std::move(stages);
  // A finding may quote a guest's text, which may be no UTF-8: replaced, not thrown about.
  return object.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

int Shell(const ShellOptions& options, const Invocation& invocation) {
  absl::StatusOr<GuestRequest> request = RequestFrom(options.machine);
  if (!request.ok()) return Complain(FindingFromStatus(Layer::kNone, request.status()));
  request->shell = true;
  request->include = options.include;
  absl::StatusOr<DumpSettings> dump = DumpSettingsFrom(options.machine);
  if (!dump.ok()) return Complain(FindingFromStatus(Layer::kNone, dump.status()));
  LaneChoice lane = ChooseLaneFor(options.machine);
  if (!lane.lane.has_value()) return Complain(lane.finding);
  const ShownGuest shown(options.monitor, "shell");
  ProgressLine progress(STDERR_FILENO, ProgressStyle(options.machine));
  GuestSetupResult prepared = PrepareHere(*request, &progress);
  if (!prepared.setup.has_value()) return Complain(prepared.finding);
  const absl::Duration asked = options.machine.time_limit_seconds > 0
                                   ? absl::Seconds(options.machine.time_limit_seconds)
                                   : absl::InfiniteDuration();
  if (lane.lane->nested) {
    const DumpDirectory dumps = WritableDumpDirectory(*dump);
    const int code =
        RunNestedCommand(invocation, *prepared.setup, {DirectoryOf(options.json), dumps.path},
                         asked + absl::Seconds(120),
                         /*interactive=*/!options.has_exec && isatty(STDIN_FILENO), &shown);
    RemoveIfUnused(dumps);
    return code;
  }
  GuestShellOptions shell{.append = options.machine.append,
                          .verbose = options.machine.verbose,
                          .time_limit = asked,
                          .patience = Patience(),
                          .boot_limit = BootLimit(options.machine),
                          .dump = *dump,
                          .monitor = MonitorSettingsFrom(
                              options.monitor, shown, prepared.setup->kernel.release(),
                              LaneName(), Patience(), kMonitorDelay * Patience()),
                          .freeze_stress = options.freeze_stress,
                          .lane = LaneName()};
  if (options.has_exec) shell.command = options.exec;
  const GuestShellResult result = RunGuestShell(*prepared.setup, shell, &progress);
  progress.Clear();
  if (!options.json.empty()) {
    absl::Status written = WriteFileAtomically(options.json, JsonText(result));
    if (!written.ok()) return Complain(FindingFromStatus(Layer::kHost, written));
  }
  return result.finding.has_value() ? Complain(*result.finding) : result.exit_code;
}

}  // namespace

void AddShellCommand(CLI::App* app, Invocation* invocation) {
  auto options = std::make_shared<ShellOptions>();
  CLI::App* command = app->add_subcommand("shell", "Opens a shell in a guest, or runs one command");
  AddMachineOptions(command, &options->machine);
  AddMonitorOptions(command, &options->monitor);
  CLI::Option* exec = command->add_option(
      "--exec", options->exec, "Runs this with /bin/sh: its output and exit code become ours");
  command->add_option("--include", options->include,
                      "Puts a host file in, at the same path, with the libraries that it needs");
  command->add_option("--json", options->json,
                      "Writes exit code, times and start-up stages to this file as JSON");
  command->add_option("--freeze-stress", options->freeze_stress,
                      "Freezes and thaws the guest that many times while the command runs");
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
