// Where scenarios are found: paths, and names of those that come with the program.
#ifndef STASIS_TOOLS_STASIS_SCENARIO_FILES_H_
#define STASIS_TOOLS_STASIS_SCENARIO_FILES_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "guest/scenario/scenario.h"

namespace stasis {

// Folders that are looked through, in order: $STASIS_SCENARIOS, the runfiles of this program,
// testdata/scenarios below the current directory, and ../share/stasis/scenarios of the binary.
std::vector<std::string> ScenarioDirectories();

struct ScenarioFile {
  std::string name;
  std::string path;
};
// Every scenario of the folders by name; the first folder that has a name wins.
std::vector<ScenarioFile> ListScenarioFiles();

// `what` is a path (it has a slash or ends in .toml) or a name. With `groups`, the scenario's CPUs are
// checked against that machine.
// Errors: InvalidArgument (unknown name with near matches; what the parser says; no such file).
absl::StatusOr<Scenario> FindScenario(const std::string& what, const CpuGroups* groups = nullptr);
// Its path. Error: InvalidArgument (unknown name).
absl::StatusOr<std::string> FindScenarioFile(const std::string& what);

}  // namespace stasis

#endif  // STASIS_TOOLS_STASIS_SCENARIO_FILES_H_
