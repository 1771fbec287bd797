// Near matches of a mistyped name.
#ifndef STASIS_TOOLS_HARNESS_NEAR_MATCH_H_
#define STASIS_TOOLS_HARNESS_NEAR_MATCH_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace stasis {

// Those of `names` that `typed` may have meant, best first, at most three: within two or a third of
// its length in edits (insert, delete, replace, swap neighbours), or with `typed` as a part.
std::vector<std::string> NearMatches(absl::string_view typed,
                                     const std::vector<std::string>& names);

}  // namespace stasis

#endif  // STASIS_TOOLS_HARNESS_NEAR_MATCH_H_
