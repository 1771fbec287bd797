// stasis run, of one scenario and of several: what both share.
#ifndef STASIS_TOOLS_STASIS_RUN_H_
#define STASIS_TOOLS_STASIS_RUN_H_

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "guest/scenario/scenario.h"
#include "tools/stasis/command.h"
#include "tools/stasis/monitor_options.h"
#include "tools/stasis/scheduler_options.h"

namespace stasis {

struct RunOptions {
  MachineOptions machine;
  SchedulerOptions scheduler;
  MonitorOptions monitor;
  std::vector<std::string> scenarios;
  uint32_t repeat = 1;
  uint32_t jobs = 0;  // 0: as many as fit
  std::string json;
  std::string junit;
  bool skip_unsupported = false;
  const CLI::App* command = nullptr;  // the parsed one
};

// A scenario and the machine for it, as the options and the scenario say together.
struct ResolvedRun {
  Scenario scenario;
  GuestRequest request;
  MachineConfig machine;
};
struct RunResolution {
  std::optional<ResolvedRun> run;
  Finding finding;           // without a run
  bool unsupported = false;  // the finding is that the machine does not do for the scenario
};
RunResolution ResolveRun(const RunOptions& options, const std::string& scenario);

// A finding before there is a guest: its first line on stderr, and the finding as a result in the
// file `json` unless that is "". Returns the exit code.
int WriteEarly(const Finding& finding, const std::string& json);

// True in a process that does one run of several for another one.
bool IsChildRun();

// Every run in a process of its own, which is this program again. Returns the exit code.
int RunMany(const RunOptions& options);

}  // namespace stasis

#endif  // STASIS_TOOLS_STASIS_RUN_H_
