// The scenario file format: TOML to Scenario. Host only.
#ifndef STASIS_GUEST_SCENARIO_PARSER_H_
#define STASIS_GUEST_SCENARIO_PARSER_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "guest/scenario/scenario.h"

namespace stasis {

// `filename` is for messages; the scenario's name is its last part without ".toml". Never silent
// about anything: a key that is unknown, or known to the format but not carried out yet, is an
// error. With `groups`, CPUs are checked against that machine. Error: InvalidArgument
// "file:line:column: what, and what was expected" for the first mistake in the file.
absl::StatusOr<Scenario> ParseScenario(absl::string_view text, absl::string_view filename,
                                       const CpuGroups* groups = nullptr);

// Reads the file. Errors: errno with the path, else as ParseScenario.
absl::StatusOr<Scenario> LoadScenario(const std::string& path, const CpuGroups* groups = nullptr);

// The text of a scenario file. Errors: errno with the path.
absl::StatusOr<std::string> ReadScenarioFile(const std::string& path);

// Every mistake in the file, by its place; those of the file as a whole are last, and only looked
// for when there are no others.
std::vector<std::string> CheckScenario(absl::string_view text, absl::string_view filename,
                                       const CpuGroups* groups = nullptr);

// The keys of a kind of table, for the reference page: by the parser's own list.
struct KeyReference {
  std::string name;
  std::string form;
  std::string what;
};
struct TableReference {
  std::string name;  // "[machine]"; "" is the whole file
  std::vector<KeyReference> keys;
};
std::vector<TableReference> ScenarioTables();

}  // namespace stasis

#endif  // STASIS_GUEST_SCENARIO_PARSER_H_
