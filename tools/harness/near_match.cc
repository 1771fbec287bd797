#include "tools/harness/near_match.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"

namespace stasis {
namespace {

// Optimal string alignment distance.
size_t Edits(absl::string_view a, absl::string_view b) {
  std::vector<std::vector<size_t>> d(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) d[i][0] = i;
  for (size_t j = 0; j <= b.size(); ++j) d[0][j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    for (size_t j = 1; j <= b.size(); ++j) {
      d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1,
                          d[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
      }
    }
  }
  return d[a.size()][b.size()];
}

}  // namespace

std::vector<std::string> NearMatches(absl::string_view typed,
                                     const std::vector<std::string>& names) {
  constexpr size_t kMaxLength = 64;  // bounds the table; nobody's scenario name is longer
  constexpr size_t kMost = 3;
  if (typed.empty() || typed.size() > kMaxLength) return {};
  const size_t allowed = std::max<size_t>(2, typed.size() / 3);
  std::vector<std::pair<size_t, std::string>> found;
  for (const std::string& name : names) {
    if (name.size() > kMaxLength) continue;
    const size_t edits = Edits(typed, name);
    // A short word is within two edits of every other short word.
    const bool near = edits <= allowed && edits < typed.size();
    if (near || absl::StrContains(name, typed)) found.emplace_back(edits, name);
  }
  std::sort(found.begin(), found.end());
  if (found.size() > kMost) found.resize(kMost);
  std::vector<std::string> best;
  for (auto& [edits, name] : found) best.push_back(std::move(name));
  return best;
}

}  // namespace stasis
