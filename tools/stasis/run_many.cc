// stasis run of several scenarios, or of one several times, or for a build: one child process per
// run, and one report.
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <set>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "tools/harness/files.h"
#include "tools/harness/run_set/child_pool.h"
#include "tools/harness/run_set/junit.h"
#include "tools/harness/run_set/outcome.h"
#include "tools/harness/run_set/plan.h"
#include "tools/stasis/run.h"

namespace stasis {
namespace {

namespace fs = std::filesystem;

// Tells a child that it is one.
constexpr char kChildRun[] = "STASIS_CHILD_RUN";
constexpr char kOutputs[] = "TEST_UNDECLARED_OUTPUTS_DIR";
constexpr uint64_t kLargestResult = 64 << 20;

std::string EnvironmentOr(const char* name) {
  const char* value = getenv(name);
  return value == nullptr ? "" : value;
}

// The options as the user gave them, but for those that differ from run to run.
std::vector<std::string> SharedOptions(const CLI::App& command) {
  static const std::set<std::string> kOwn = {"scenario", "--repeat",           "--jobs",
                                             "--json",   "--junit",            "--dump-dir",
                                             "--accel",  "--skip-unsupported", "--help"};
  std::vector<std::string> options;
  for (const CLI::Option* option : command.get_options()) {
    if (option->count() == 0 || kOwn.count(option->get_name()) > 0) continue;
    if (option->get_items_expected_max() == 0) {  // a flag
      options.push_back(option->get_name());
      continue;
    }
    for (const std::string& value : option->results()) {
      options.push_back(absl::StrCat(option->get_name(), "=", value));
    }
  }
  return options;
}

// What is shown while the runs go on.
class Live {
 public:
  Live(const std::vector<PlannedRun>& runs, const MachineOptions& machine)
      : runs_(runs),
        verbose_(machine.verbose),
        style_(ProgressStyle(machine)),
        progress_(STDERR_FILENO, style_),
        start_(absl::Now()) {}

  void Say(const std::string& line) { progress_.Line(line); }

  void Start(size_t index) {
    stages_[index] = "starting";
    if (style_ == ProgressLine::Style::kLines) {
      Say(absl::StrCat(runs_[index].Label(), " starts"));
    }
    Draw();
  }

  void ErrorLine(size_t index, absl::string_view line) {
    absl::string_view stage = line;
    if (absl::ConsumePrefix(&stage, "stasis: ")) {
      stages_[index] = OneLine(stage, 60);
      Draw();
    }
    if (verbose_) Say(absl::StrCat(runs_[index].Label(), " | ", line));
  }

  void End(size_t index, const RunOutcome& outcome) {
    stages_.erase(index);
    ++done_;
    Draw();
    Say(absl::StrFormat("%s: %s, %.1f s", runs_[index].Label(),
                        outcome.state == RunState::kSkipped ||
                                outcome.state == RunState::kInterrupted
                            ? RunStateName(outcome.state)
                            : FirstLine(outcome.finding),
                        absl::ToDoubleSeconds(outcome.wall)));
  }

  void Draw() {
    if (style_ != ProgressLine::Style::kTerminal) return;
    std::vector<std::string> running;
    for (const auto& [index, stage] : stages_) {
      running.push_back(absl::StrCat(runs_[index].Label(), " (", stage, ")"));
    }
    progress_.Stage(absl::StrFormat("%d of %d done, %.0f s%s%s", done_, runs_.size(),
                                    absl::ToDoubleSeconds(absl::Now() - start_),
                                    running.empty() ? "" : "; ", absl::StrJoin(running, ", ")));
  }

  void Clear() { progress_.Clear(); }

 private:
  const std::vector<PlannedRun>& runs_;
  const bool verbose_;
  const ProgressLine::Style style_;
  ProgressLine progress_;
  const absl::Time start_;
  std::map<size_t, std::string> stages_;
  size_t done_ = 0;
};

class RunSet {
 public:
  explicit RunSet(const RunOptions& options)
      : options_(options),
        runs_(PlanRuns(options.scenarios, options.repeat)),
        outputs_(EnvironmentOr(kOutputs)),
        live_(runs_, options.machine),
        outcomes_(runs_.size()) {}

  int Run() {
    if (std::optional<Finding> refused = Resolve()) return WriteEarly(*refused, options_.json);
    const LaneChoice lane = ChooseLaneFor(options_.machine);
    if (!lane.lane.has_value()) return WriteEarly(lane.finding, options_.json);
    if (absl::Status made = MakeFolders(); !made.ok()) {
      return WriteEarly(HostError(made), options_.json);
    }
    absl::Cleanup remove = [this] { RemoveFolders(); };
    jobs_ = ChooseJobs(options_.jobs, static_cast<uint32_t>(to_run_.size()),
                       Needs(lane.lane->nested), RoomOfThisHost());
    if (!alone() && !to_run_.empty()) {
      live_.Say(absl::StrCat(to_run_.size(), to_run_.size() == 1 ? " run, " : " runs, ",
                             jobs_.why));
    }
    if (absl::Status ran = RunAll(lane.lane->nested); !ran.ok()) {
      return WriteEarly(HostError(ran), options_.json);
    }
    return Report();
  }

 private:
  // One run looks like one.
  bool alone() const { return runs_.size() == 1; }

  // What is wrong with the invocation is said before anything runs.
  std::optional<Finding> Resolve() {
    for (size_t i = 0; i < runs_.size(); ++i) {
      auto [at, is_new] = resolved_.try_emplace(runs_[i].scenario);
      if (is_new) at->second = ResolveRun(options_, runs_[i].scenario);
      const RunResolution& resolution = at->second;
      if (resolution.run.has_value()) {
        to_run_.push_back(i);
      } else if (resolution.unsupported && options_.skip_unsupported) {
        outcomes_[i] = SkippedOutcome(runs_[i], resolution.finding);
      } else {
        return resolution.finding;
      }
    }
    return std::nullopt;
  }

  RunNeeds Needs(bool nested) const {
    RunNeeds most;
    for (size_t i : to_run_) {
      const MachineConfig& machine = resolved_.at(runs_[i].scenario).run->machine;
      const RunNeeds needs = NeedsOf(machine.topology.cpus(), machine.memory_bytes, nested);
      most.cpus = std::max(most.cpus, needs.cpus);
      most.memory_bytes = std::max(most.memory_bytes, needs.memory_bytes);
    }
    return most;
  }

  absl::Status MakeFolders() {
    std::string scratch = absl::StrCat(fs::temp_directory_path().string(), "/stasis-run.XXXXXX");
    if (mkdtemp(scratch.data()) == nullptr) {
      return absl::ErrnoToStatus(errno, absl::StrCat("mkdtemp ", scratch));
    }
    scratch_ = scratch;
    absl::StatusOr<DumpSettings> dump = DumpSettingsFrom(options_.machine);
    if (!dump.ok()) return dump.status();
    // A build collects what is in its folder; the user's word comes first.
    if (!outputs_.empty() && options_.command->count("--dump-dir") == 0) {
      dump->directory = outputs_;
    }
    dumps_ = dump->directory;
    made_dumps_ = WritableDumpDirectory(*dump);
    return absl::OkStatus();
  }

  void RemoveFolders() {
    std::error_code ignored;
    fs::remove_all(scratch_, ignored);
    RemoveIfUnused(made_dumps_);
  }

  std::string JsonPath(size_t i) const {
    return absl::StrCat(scratch_, "/", i, "/result.json");
  }

  // Dumps carry a time and a process id, and the latter is the same in every emulated host.
  std::string DumpFolder(size_t i) const {
    return alone() ? dumps_ : absl::StrCat(dumps_, "/", runs_[i].FileName());
  }

  ChildCommand CommandOf(size_t i, bool nested) const {
    ChildCommand command;
    command.argv = {"/proc/self/exe", "run", runs_[i].scenario};
    const std::vector<std::string> shared = SharedOptions(*options_.command);
    command.argv.insert(command.argv.end(), shared.begin(), shared.end());
    for (std::string option :
         {absl::StrCat("--accel=", nested ? "nested" : "kvm"),
          absl::StrCat("--json=", JsonPath(i)), absl::StrCat("--dump-dir=", DumpFolder(i))}) {
      command.argv.push_back(std::move(option));
    }
    if (options_.scheduler.args.has_value()) {
      command.argv.push_back("--");
      command.argv.insert(command.argv.end(), options_.scheduler.args->begin(),
                          options_.scheduler.args->end());
    }
    command.environment = {{kChildRun, "1"}};
    command.show = alone();
    return command;
  }

  absl::Status RunAll(bool nested) {
    std::vector<ChildCommand> commands;
    for (size_t i : to_run_) {
      // One folder each: it is what the emulated host may write.
      std::error_code error;
      fs::create_directory(fs::path(JsonPath(i)).parent_path(), error);
      if (error) return absl::ErrnoToStatus(error.value(), absl::StrCat("mkdir ", scratch_));
      commands.push_back(CommandOf(i, nested));
    }
    const PoolCallbacks callbacks = {
        .on_start = [this](size_t child) { if (!alone()) live_.Start(to_run_[child]); },
        .on_error_line = [this](size_t child, absl::string_view line) {
          live_.ErrorLine(to_run_[child], line);
        },
        .on_end = [this](size_t child, const ChildResult& result) { Take(to_run_[child], result); },
        .on_tick = [this] { if (!alone()) live_.Draw(); }};
    absl::StatusOr<PoolResult> ended = RunChildren(commands, jobs_.jobs, callbacks);
    live_.Clear();
    if (!ended.ok()) return ended.status();
    for (size_t child = 0; child < to_run_.size(); ++child) {
      if (!ended->children[child].started) Take(to_run_[child], ended->children[child]);
    }
    return absl::OkStatus();
  }

  void Take(size_t i, const ChildResult& child) {
    absl::StatusOr<std::string> json = ReadWholeFile(JsonPath(i), kLargestResult);
    outcomes_[i] = OutcomeOf(runs_[i], child, json.ok() ? *json : "", options_.skip_unsupported);
    if (!alone() && child.started) live_.End(i, outcomes_[i]);
    if (!alone()) {
      std::error_code ignored;
      fs::remove(DumpFolder(i), ignored);  // only if there is nothing in it
    }
  }

  // Everything is written, whatever comes of the rest; the first error is told.
  int Report() {
    std::string text;
    if (alone()) {
      const RunOutcome& outcome = outcomes_[0];
      if (outcome.state == RunState::kSkipped) {
        text = absl::StrCat("SKIPPED: ", outcome.finding.what, "\n");
        printf("%s", text.c_str());
      } else {
        text = outcome.text.empty() ? absl::StrCat(FirstLine(outcome.finding), "\n") : outcome.text;
      }
    } else {
      text = RunSetReport(outcomes_);
      printf("%s", text.c_str());
    }
    fflush(stdout);
    const std::string json =
        JsonText(alone() ? outcomes_[0].document : RunSetJson(outcomes_, jobs_));
    Write(options_.json, json);
    Write(options_.junit, JunitXml(outcomes_));
    if (!outputs_.empty()) {
      Write(absl::StrCat(outputs_, "/stasis-report.txt"), text);
      Write(absl::StrCat(outputs_, "/stasis-result.json"), json);
    }
    if (write_error_.ok()) return ExitCodeOf(outcomes_);
    return Complain(Finding{Verdict::kError, Layer::kHost, std::string(write_error_.message()),
                            "give another file"});
  }

  void Write(const std::string& path, const std::string& contents) {
    if (!path.empty()) write_error_.Update(WriteFileAtomically(path, contents));
  }

  const RunOptions& options_;
  const std::vector<PlannedRun> runs_;
  const std::string outputs_;
  Live live_;
  std::vector<RunOutcome> outcomes_;
  std::map<std::string, RunResolution> resolved_;
  std::vector<size_t> to_run_;
  JobChoice jobs_;
  std::string scratch_;
  std::string dumps_;
  DumpDirectory made_dumps_;
  absl::Status write_error_;
};

}  // namespace

bool IsChildRun() { return getenv(kChildRun) != nullptr; }

int RunMany(const RunOptions& options) { return RunSet(options).Run(); }

}  // namespace stasis
