// stasis scenario: checks and shows scenario files without running them.
#include <stdio.h>

#include <memory>

#include "absl/strings/str_cat.h"
#include "guest/scenario/parser.h"
#include "guest/scenario/scenario_text.h"
#include "tools/harness/topology_check.h"
#include "tools/stasis/command.h"
#include "tools/stasis/scenario_files.h"
#include "vmm/topology/topology.h"

namespace stasis {
namespace {

struct ScenarioOptions {
  std::vector<std::string> files;
  std::string topology;
  bool json = false;
};

// The machine to check against: the user's, else the scenario's own; none when neither says one.
absl::StatusOr<std::optional<CpuGroups>> GroupsFor(const std::string& topology,
                                                   const Scenario* scenario) {
  std::string text = topology;
  if (text.empty() && scenario != nullptr) text = scenario->machine.topology.value_or("");
  if (text.empty()) return std::optional<CpuGroups>();
  absl::StatusOr<Topology> parsed = Topology::Parse(text);
  if (!parsed.ok()) return parsed.status();
  return std::optional<CpuGroups>(CpuGroupsOf(*parsed));
}

// Every error of one file.
std::vector<std::string> ErrorsOf(const std::string& what, const std::string& topology) {
  absl::StatusOr<std::string> path = FindScenarioFile(what);
  if (!path.ok()) return {std::string(path.status().message())};
  absl::StatusOr<std::string> text = ReadScenarioFile(*path);
  if (!text.ok()) return {std::string(text.status().message())};
  absl::StatusOr<Scenario> scenario = ParseScenario(*text, *path);
  absl::StatusOr<std::optional<CpuGroups>> groups =
      GroupsFor(topology, scenario.ok() ? &*scenario : nullptr);
  if (!groups.ok()) return {absl::StrCat(*path, ": ", groups.status().message())};
  return CheckScenario(*text, *path, groups->has_value() ? &**groups : nullptr);
}

int Check(const ScenarioOptions& options) {
  bool good = true;
  for (const std::string& file : options.files) {
    const std::vector<std::string> errors = ErrorsOf(file, options.topology);
    if (errors.empty()) printf("%s: ok\n", file.c_str());
    fflush(stdout);
    for (const std::string& error : errors) fprintf(stderr, "%s\n", error.c_str());
    good = good && errors.empty();
  }
  return ExitCode(good ? Verdict::kPass : Verdict::kUsage);
}

int Show(const ScenarioOptions& options) {
  absl::StatusOr<Scenario> scenario = FindScenario(options.files.front());
  absl::StatusOr<std::optional<CpuGroups>> groups =
      scenario.ok() ? GroupsFor(options.topology, &*scenario)
                    : absl::StatusOr<std::optional<CpuGroups>>(scenario.status());
  if (!groups.ok()) return Complain(FindingFromStatus(Layer::kNone, groups.status()));
  const CpuGroups* machine = groups->has_value() ? &**groups : nullptr;
  // Again, now that the machine is known.
  if (machine != nullptr) scenario = FindScenario(options.files.front(), machine);
  if (!scenario.ok()) return Complain(FindingFromStatus(Layer::kNone, scenario.status()));
  const std::string text =
      options.json ? fields::ToJson(*scenario).dump(
                         2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n"
                   : ScenarioText(*scenario, machine);
  fwrite(text.data(), 1, text.size(), stdout);
  return 0;
}

int Reference() {
  printf("%s", ScenarioReference().c_str());
  return 0;
}

}  // namespace

void AddScenarioCommand(CLI::App* app, Invocation* invocation) {
  auto options = std::make_shared<ScenarioOptions>();
  CLI::App* command = app->add_subcommand("scenario", "Checks and shows scenario files");
  command->require_subcommand(1);

  CLI::App* check = command->add_subcommand("check", "Says everything that is wrong with them");
  check->add_option("files", options->files, "Scenario files, or names of 'stasis list'")
      ->required();
  check->add_option("--topology", options->topology,
                    "The machine whose CPUs must suffice, such as 1n2l4c2t; by default the one "
                    "that the scenario names");
  check->footer("Exit codes: 0 all are good, 2 some are not.");
  check->callback([options, invocation] {
    invocation->action = [options] { return Check(*options); };
  });

  CLI::App* show = command->add_subcommand("show", "Writes a scenario with all its defaults");
  show->add_option("file", options->files, "A scenario file, or a name of 'stasis list'")
      ->required()
      ->expected(1);
  show->add_option("--topology", options->topology,
                   "The machine whose CPUs the names stand for; by default the scenario's own");
  show->add_flag("--json", options->json, "As JSON, with times in ns");
  show->callback([options, invocation] {
    invocation->action = [options] { return Show(*options); };
  });

  CLI::App* reference = command->add_subcommand(
      "reference", "Writes the page of all keys, kinds of work, actions and expectations");
  reference->callback([invocation] { invocation->action = Reference; });
}

}  // namespace stasis
