// stasis run: one scenario in one guest, and its verdict.
#include <stdio.h>
#include <unistd.h>

#include <memory>

#include "absl/strings/str_cat.h"
#include "tools/harness/files.h"
#include "tools/harness/report.h"
#include "tools/harness/scenario_run.h"
#include "tools/stasis/command.h"
#include "tools/stasis/scenario_files.h"
#include "tools/stasis/scheduler_options.h"

namespace stasis {
namespace {

struct RunOptions {
  MachineOptions machine;
  SchedulerOptions scheduler;
  std::string scenario;
  std::string json;
};

// The user's words win over the scenario's.
absl::Status TakeMachineOf(const Scenario& scenario, GuestRequest* request) {
  if (request->topology.empty()) request->topology = scenario.machine.topology.value_or("");
  if (request->memory.empty() && scenario.machine.memory_bytes.has_value()) {
    request->memory = std::to_string(*scenario.machine.memory_bytes >> 20) + "M";
  }
  request->required_config = scenario.machine.required_config;
  // The scenario's come first, so that it knows their names.
  absl::StatusOr<DiskSettings> disks = ParseDiskSettings(scenario.machine.disks, "");
  if (!disks.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("scenario ", scenario.name, ": ", disks.status().message()));
  }
  request->disks.disks.insert(request->disks.disks.begin(), disks->disks.begin(),
                              disks->disks.end());
  // What work of kind command runs comes from this host; what is not here may be the guest's own.
  for (const CgroupSpec& cgroup : scenario.cgroups) {
    for (const WorkSpec& work : cgroup.work) {
      if (work.kind != WorkKind::kCommand) continue;
      if (access(work.command[0].c_str(), X_OK) == 0) request->include.push_back(work.command[0]);
    }
  }
  return absl::OkStatus();
}

// A scenario says which machines it allows.
std::optional<Finding> CheckLimits(const Scenario& scenario, const Topology& topology) {
  if (topology.cpus() < scenario.machine.min_cpus) {
    return Finding{Verdict::kUsage, Layer::kNone,
                   "scenario " + scenario.name + " needs at least " +
                       std::to_string(scenario.machine.min_cpus) + " CPUs, topology " +
                       topology.ToString() + " has " + std::to_string(topology.cpus()),
                   "give a larger --topology"};
  }
  if (scenario.machine.needs_smt && topology.threads_per_core() < 2) {
    return Finding{Verdict::kUsage, Layer::kNone,
                   "scenario " + scenario.name + " needs SMT, topology " + topology.ToString() +
                       " has one thread per core",
                   "give a --topology with 2t"};
  }
  return std::nullopt;
}

int WriteReport(const RunReport& report, const std::string& json) {
  printf("%s", TextReport(report).c_str());
  fflush(stdout);
  if (json.empty()) return report.finding.exit_code();
  absl::Status written = WriteJsonReport(report, json);
  if (written.ok()) return report.finding.exit_code();
  return Complain(Finding{Verdict::kError, Layer::kHost, std::string(written.message()),
                          "give another --json file"});
}

// A finding before there is a guest goes into the JSON as well.
int WriteEarly(const Finding& finding, const std::string& json) {
  if (!json.empty()) {
    RunReport report;
    report.finding = finding;
    absl::Status written = WriteJsonReport(report, json);
    if (!written.ok()) fprintf(stderr, "stasis: %s\n", std::string(written.message()).c_str());
  }
  return Complain(finding);
}

int Run(const RunOptions& options, const Invocation& invocation) {
  absl::StatusOr<Scenario> scenario = FindScenario(options.scenario);
  if (!scenario.ok()) {
    return WriteEarly(FindingFromStatus(Layer::kNone, scenario.status()), options.json);
  }
  absl::StatusOr<GuestRequest> request = RequestFrom(options.machine);
  if (request.ok()) {
    absl::Status taken = TakeMachineOf(*scenario, &*request);
    if (!taken.ok()) request = taken;
  }
  absl::StatusOr<MachineConfig> machine =
      request.ok() ? ParseMachine(*request) : absl::StatusOr<MachineConfig>(request.status());
  if (!machine.ok()) {
    return WriteEarly(FindingFromStatus(Layer::kNone, machine.status()), options.json);
  }
  if (std::optional<Finding> refused = CheckLimits(*scenario, machine->topology)) {
    return WriteEarly(*refused, options.json);
  }
  std::string scheduler_note;
  if (std::optional<Finding> refused =
          TakeScheduler(options.scheduler, &*scenario, &*request, &scheduler_note)) {
    return WriteEarly(*refused, options.json);
  }
  absl::StatusOr<DumpSettings> dump = DumpSettingsFrom(options.machine);
  if (!dump.ok()) return WriteEarly(FindingFromStatus(Layer::kNone, dump.status()), options.json);
  LaneChoice lane = ChooseLaneFor(options.machine);
  if (!lane.lane.has_value()) return WriteEarly(lane.finding, options.json);

  ProgressLine progress(STDERR_FILENO, ProgressStyle(options.machine));
  if (!scheduler_note.empty()) request->warnings.push_back(absl::StrCat("scheduler ", scheduler_note));
  GuestSetupResult prepared = PrepareHere(*request, &progress);
  if (!prepared.setup.has_value()) return WriteEarly(prepared.finding, options.json);
  const absl::Duration asked = absl::Seconds(options.machine.time_limit_seconds);
  if (lane.lane->nested) {
    const absl::Duration inside =
        asked > absl::ZeroDuration() ? asked : DefaultTimeLimit(*scenario, 3);
    const DumpDirectory dumps = WritableDumpDirectory(*dump);
    const int code =
        RunNestedCommand(invocation, *prepared.setup, {DirectoryOf(options.json), dumps.path},
                         inside + absl::Seconds(120), /*interactive=*/false);
    RemoveIfUnused(dumps);
    return code;
  }
  const RunReport report = RunScenario(*scenario, *prepared.setup,
                                       {.verbose = options.machine.verbose,
                                        .append = options.machine.append,
                                        .lane = LaneName(),
                                        .time_limit = asked,
                                        .patience = Patience(),
                                        .boot_limit = BootLimit(options.machine),
                                        .dump = *dump},
                                       &progress);
  progress.Clear();
  return WriteReport(report, options.json);
}

}  // namespace

void AddRunCommand(CLI::App* app, Invocation* invocation) {
  auto options = std::make_shared<RunOptions>();
  CLI::App* command = app->add_subcommand("run", "Runs a scenario in a guest and judges it");
  command->add_option("scenario", options->scenario, "A scenario file, or a name of 'stasis list'")
      ->required();
  AddMachineOptions(command, &options->machine);
  AddSchedulerOptions(command, &options->scheduler);
  command->add_option("--json", options->json, "Writes the result to this file as JSON");
  command->footer(
      "Examples:\n"
      "  stasis run steady\n"
      "  stasis run steady --kernel ~/src/linux --topology 2n4l2c2t --json result.json\n"
      "  stasis run steady --scheduler scx_simple --kernel sched-test\n"
      "  stasis run steady --scheduler ./scx_mine --kernel ~/src/linux -- --verbose\n"
      "  stasis run my-scenario.toml --append 'sched_verbose' --verbose");
  command->callback([options, invocation] {
    options->scheduler.args = invocation->behind_dashes;
    invocation->action = [options, invocation] { return Run(*options, *invocation); };
  });
}

}  // namespace stasis
