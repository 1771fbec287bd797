// The scenario file format: TOML to Scenario. Host only.
#ifndef STASIS_GUEST_SCENARIO_PARSER_H_
#define STASIS_GUEST_SCENARIO_PARSER_H_

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "guest/scenario/scenario.h"

namespace stasis {

// `filename` is for messages; the scenario's name is its last part without ".toml". Never silent
// about anything: a key that is unknown, or known to the format but not carried out yet, is an
// error. Error: InvalidArgument "file:line:column: what, and what was expected" for the first
// mistake in the file.
absl::StatusOr<Scenario> ParseScenario(absl::string_view text, absl::string_view filename);

// Reads the file. Errors: errno with the path, else as ParseScenario.
absl::StatusOr<Scenario> LoadScenario(const std::string& path);

}  // namespace stasis

#endif  // STASIS_GUEST_SCENARIO_PARSER_H_
