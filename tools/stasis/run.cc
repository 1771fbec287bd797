// stasis run: one scenario in one guest, and its verdict; several runs are in run_many.cc.
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <memory>

#include "absl/strings/str_cat.h"
#include "tools/harness/files.h"
#include "tools/harness/report.h"
#include "tools/harness/scenario_run.h"
#include "tools/harness/topology_check.h"
#include "tools/stasis/command.h"
#include "tools/stasis/run.h"
#include "tools/stasis/scenario_files.h"
#include "tools/stasis/scheduler_options.h"

namespace stasis {
namespace {

// The user's words win over the scenario's.
absl::Status TakeMachineOf(const Scenario& scenario, GuestRequest* request) {
  if (request->topology.empty()) request->topology = scenario.machine.topology.value_or("");
  if (request->memory.empty() && scenario.machine.memory_bytes.has_value()) {
    request->memory = std::to_string(*scenario.machine.memory_bytes >> 20) + "M";
  }
  request->required_config = scenario.machine.required_config;
  request->distances = scenario.machine.distances;
  request->kaslr |= scenario.machine.kaslr;
  // The scenario's come first, so that it knows their names.
  absl::StatusOr<DiskSettings> disks = ParseDiskSettings(scenario.machine.disks, "");
  if (!disks.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("scenario ", scenario.name, ": ", disks.status().message()));
  }
  request->disks.disks.insert(request->disks.disks.begin(), disks->disks.begin(),
                              disks->disks.end());
  // What work of kind command and steps run comes from this host; what is not here may be the
  // guest's own.
  for (const std::string& program : ProgramsOf(scenario)) {
    if (access(program.c_str(), X_OK) == 0) request->include.push_back(program);
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

int RunOne(const RunOptions& options, const Invocation& invocation) {
  RunResolution resolution = ResolveRun(options, options.scenarios[0]);
  if (!resolution.run.has_value()) return WriteEarly(resolution.finding, options.json);
  const Scenario* scenario = &resolution.run->scenario;
  GuestRequest* request = &resolution.run->request;
  absl::StatusOr<DumpSettings> dump = DumpSettingsFrom(options.machine);
  if (!dump.ok()) return WriteEarly(FindingFromStatus(Layer::kNone, dump.status()), options.json);
  LaneChoice lane = ChooseLaneFor(options.machine);
  if (!lane.lane.has_value()) return WriteEarly(lane.finding, options.json);

  const ShownGuest shown(options.monitor, absl::StrCat("run ", scenario->name));
  ProgressLine progress(STDERR_FILENO, ProgressStyle(options.machine));
  GuestSetupResult prepared = PrepareHere(*request, &progress);
  if (!prepared.setup.has_value()) return WriteEarly(prepared.finding, options.json);
  const absl::Duration asked = absl::Seconds(options.machine.time_limit_seconds);
  if (lane.lane->nested) {
    const absl::Duration inside =
        asked > absl::ZeroDuration() ? asked : DefaultTimeLimit(*scenario, 3);
    const DumpDirectory dumps = WritableDumpDirectory(*dump);
    const int code =
        RunNestedCommand(invocation, *prepared.setup, {DirectoryOf(options.json), dumps.path},
                         inside + absl::Seconds(120), /*interactive=*/false, &shown);
    RemoveIfUnused(dumps);
    return code;
  }
  const RunReport report = RunScenario(*scenario, *prepared.setup,
                                       {.verbose = options.machine.verbose,
                                        .append = options.machine.append,
                                        .lane = LaneName(),
                                        .time_limit = asked,
                                        .emulated = EmulatedHost(),
                                        .patience = Patience(),
                                        .boot_limit = BootLimit(options.machine),
                                        .dump = *dump,
                                        .monitor = MonitorSettingsFrom(
                                            options.monitor, shown,
                                            prepared.setup->kernel.release(), LaneName(),
                                            Patience(), absl::ZeroDuration())},
                                       &progress);
  progress.Clear();
  return WriteReport(report, options.json);
}

// Several runs, or one whose result is for a build that wants to know of it however it ends.
bool NeedsOthers(const RunOptions& options) {
  if (IsChildRun()) return false;
  return options.scenarios.size() > 1 || options.repeat > 1 || !options.junit.empty() ||
         options.skip_unsupported || getenv("TEST_UNDECLARED_OUTPUTS_DIR") != nullptr;
}

}  // namespace

RunResolution ResolveRun(const RunOptions& options, const std::string& name) {
  RunResolution resolution;
  const auto refuse = [&](const absl::Status& status) {
    resolution.finding = FindingFromStatus(Layer::kNone, status);
    return resolution;
  };
  absl::StatusOr<Scenario> scenario = FindScenario(name);
  if (!scenario.ok()) return refuse(scenario.status());
  absl::StatusOr<GuestRequest> request = RequestFrom(options.machine);
  if (!request.ok()) return refuse(request.status());
  absl::Status taken = TakeMachineOf(*scenario, &*request);
  if (!taken.ok()) return refuse(taken);
  absl::StatusOr<MachineConfig> machine = ParseMachine(*request);
  if (!machine.ok()) {
    // Distances are those of one number of nodes; another may have been asked for.
    resolution.unsupported = !request->distances.empty();
    return refuse(machine.status());
  }
  if (std::optional<Finding> refused = CheckLimits(*scenario, machine->topology)) {
    resolution.finding = *refused;
    resolution.unsupported = true;
    return resolution;
  }
  // CPUs that the machine lacks are pointed at before it is booted.
  const CpuGroups groups = CpuGroupsOf(machine->topology);
  scenario = FindScenario(name, &groups);
  if (!scenario.ok()) {
    resolution.unsupported = true;
    return refuse(scenario.status());
  }
  std::string note;
  if (std::optional<Finding> refused =
          TakeScheduler(options.scheduler, &*scenario, &*request, &note)) {
    resolution.finding = *refused;
    return resolution;
  }
  if (!note.empty()) request->warnings.push_back(absl::StrCat("scheduler ", note));
  resolution.run = {*std::move(scenario), *std::move(request), *std::move(machine)};
  return resolution;
}

int WriteEarly(const Finding& finding, const std::string& json) {
  if (!json.empty()) {
    RunReport report;
    report.finding = finding;
    absl::Status written = WriteJsonReport(report, json);
    if (!written.ok()) fprintf(stderr, "stasis: %s\n", std::string(written.message()).c_str());
  }
  return Complain(finding);
}

void AddRunCommand(CLI::App* app, Invocation* invocation) {
  auto options = std::make_shared<RunOptions>();
  CLI::App* command =
      app->add_subcommand("run", "Runs a scenario, or several, each in a guest, and judges it");
  options->command = command;
  command
      ->add_option("scenario", options->scenarios,
                   "Scenario files, or names of 'stasis list'; several are run one round after the "
                   "other")
      ->required();
  command->add_option("--repeat", options->repeat, "Runs each scenario that many times")
      ->check(CLI::Range(1, 10000));
  command
      ->add_option("--jobs,-j", options->jobs,
                   "Runs at a time (default: as many as there is room for; never more than this "
                   "host's CPUs and memory hold)")
      ->check(CLI::Range(1, 1024));
  AddMachineOptions(command, &options->machine);
  AddSchedulerOptions(command, &options->scheduler);
  AddMonitorOptions(command, &options->monitor);
  command->add_option("--json", options->json, "Writes the result to this file as JSON");
  command
      ->add_option("--junit", options->junit,
                   "Writes the result to this file as JUnit XML, one test case per run")
      ->envname("XML_OUTPUT_FILE");
  command->add_flag("--skip-unsupported", options->skip_unsupported,
                    "Skips a scenario that needs another topology or kernel: neither a usage error "
                    "nor inconclusive");
  command->footer(
      "Exit code of several runs: the worst, that is 1 if any failed, else 2, 3, 4 if any had that, "
      "else 0.\n"
      "With $TEST_UNDECLARED_OUTPUTS_DIR set (by Bazel) report, result and dumps go there as well.\n"
      "Examples:\n"
      "  stasis run steady\n"
      "  stasis run steady --kernel ~/src/linux --topology 2n4l2c2t --json result.json\n"
      "  stasis run steady --scheduler scx_simple --kernel sched-test\n"
      "  stasis run steady --scheduler ./scx_mine --kernel ~/src/linux -- --verbose\n"
      "  stasis run my-scenario.toml --append 'sched_verbose' --verbose\n"
      "  stasis run steady bursty --repeat 5 --jobs 2 --json results.json");
  command->callback([options, invocation] {
    options->scheduler.args = invocation->behind_dashes;
    invocation->action = [options, invocation] {
      return NeedsOthers(*options) ? RunMany(*options) : RunOne(*options, *invocation);
    };
  });
}

}  // namespace stasis
