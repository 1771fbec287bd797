// Suggestions for misspelt words.
#ifndef STASIS_GUEST_SCENARIO_NEAR_MATCH_H_
#define STASIS_GUEST_SCENARIO_NEAR_MATCH_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace stasis {

// Those of `known` that are at most a third of their letters away from `word` (insertions,
// deletions, replacements, swaps of neighbours), nearest first.
std::vector<std::string> NearMatches(absl::string_view word, const std::vector<std::string>& known);

// "; did you mean 'a' or 'b'?", or "" when nothing is near.
std::string NearMatchHint(absl::string_view word, const std::vector<std::string>& known);

}  // namespace stasis

#endif  // STASIS_GUEST_SCENARIO_NEAR_MATCH_H_
