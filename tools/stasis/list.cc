// stasis list: the scenarios there are.
#include <stdio.h>

#include <algorithm>

#include "guest/scenario/parser.h"
#include "tools/stasis/command.h"
#include "tools/stasis/scenario_files.h"

namespace stasis {
namespace {

int List() {
  const std::vector<ScenarioFile> files = ListScenarioFiles();
  if (files.empty()) {
    return Complain(Finding{Verdict::kError, Layer::kHost, "no scenarios found",
                            "set STASIS_SCENARIOS to their folder"});
  }
  size_t width = 0;
  for (const ScenarioFile& file : files) width = std::max(width, file.name.size());
  int bad = 0;
  for (const ScenarioFile& file : files) {
    absl::StatusOr<Scenario> scenario = LoadScenario(file.path);
    if (!scenario.ok()) ++bad;
    printf("%-*s  %s\n", static_cast<int>(width), file.name.c_str(),
           scenario.ok()
               ? scenario->summary.c_str()
               : ("(unusable: " + std::string(scenario.status().message()) + ")").c_str());
  }
  return ExitCode(bad == 0 ? Verdict::kPass : Verdict::kUsage);
}

}  // namespace

void AddListCommand(CLI::App* app, Invocation* invocation) {
  CLI::App* command = app->add_subcommand("list", "Lists the scenarios there are");
  command->callback([invocation] { invocation->action = List; });
}

}  // namespace stasis
