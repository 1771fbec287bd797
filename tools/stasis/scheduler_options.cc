#include "tools/stasis/scheduler_options.h"

#include <algorithm>
#include <string.h>

#include <CLI/CLI.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "guest/scenario/scheduler_judge.h"
#include "tools/harness/files.h"
#include "tools/harness/scheduler_program.h"

namespace stasis {
namespace {

constexpr char kNone[] = "none";

SchedulerSpec SpecOf(const std::string& scheduler) {
  SchedulerSpec spec;
  if (absl::StrContains(scheduler, '/')) {
    spec.path = AbsolutePath(scheduler);
  } else {
    spec.name = scheduler;
  }
  return spec;
}

}  // namespace

void AddSchedulerOptions(CLI::App* command, SchedulerOptions* options) {
  command->add_option(
      "--scheduler", options->scheduler,
      "Runs under this sched_ext scheduler instead of the scenario's: a program's path (with a /), "
      "a "
      "name that tools/schedulers/build makes, or none (the kernel's own); -- ARGS... are its "
      "arguments");
}

std::optional<std::vector<std::string>> TakeBehindDashes(int* argc, char** argv) {
  for (int i = 1; i < *argc; ++i) {
    if (strcmp(argv[i], "--") != 0) continue;
    std::vector<std::string> behind(argv + i + 1, argv + *argc);
    *argc = i;
    return behind;
  }
  return std::nullopt;
}

std::optional<Finding> TakeScheduler(const SchedulerOptions& options, Scenario* scenario,
                                     GuestRequest* request, std::string* note) {
  std::optional<SchedulerSpec>& scheduler = scenario->scheduler;
  const std::string before = scheduler.has_value() ? CommandOf(*scheduler) : "";
  if (options.scheduler == kNone) {
    scheduler.reset();
  } else if (!options.scheduler.empty()) {
    scheduler = SpecOf(options.scheduler);
  }
  if (options.args.has_value()) {
    if (!scheduler.has_value()) {
      return Finding{
          Verdict::kUsage, Layer::kNone,
          absl::StrCat("what stands behind -- are the scheduler's arguments, and scenario ",
                       scenario->name, " has no scheduler"),
          "give one with --scheduler"};
    }
    scheduler->args = *options.args;
  }
  const std::string now =
      scheduler.has_value() ? CommandOf(*scheduler) : "the kernel's own scheduler";
  if (!before.empty() && before != now) {
    *note = absl::StrCat(now, " by the command line, in place of the scenario's ", before);
  }
  const std::optional<std::string>& should_fail = scenario->expect.should_fail;
  if (!scheduler.has_value()) {
    if (!SchedulersOf(scenario).empty()) {
      return Finding{Verdict::kUsage, Layer::kNone,
                     absl::StrCat("a step of scenario ", scenario->name, " switches the scheduler"),
                     "run it without --scheduler none"};
    }
    if (!should_fail.has_value() || !IsSchedulerFailure(*should_fail)) return std::nullopt;
    return Finding{Verdict::kUsage, Layer::kNone,
                   absl::StrCat("scenario ", scenario->name, " should see its scheduler fail (",
                                *should_fail, ")"),
                   "run it without --scheduler none"};
  }
  constexpr char kClass[] = "SCHED_CLASS_EXT";
  std::vector<std::string>& needed = request->required_config;
  // The scenario may ask for it itself.
  if (std::find(needed.begin(), needed.end(), kClass) == needed.end()) needed.push_back(kClass);
  request->schedulers.clear();
  for (const SchedulerSpec* spec : SchedulersOf(scenario)) {
    request->schedulers.push_back(*spec);
    if (spec->path.empty()) continue;
    if (std::optional<Finding> unusable = CheckSchedulerProgram(spec->path)) return unusable;
  }
  return std::nullopt;
}

}  // namespace stasis
