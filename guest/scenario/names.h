// What may be the name of a cgroup or of work.
#ifndef STASIS_GUEST_SCENARIO_NAMES_H_
#define STASIS_GUEST_SCENARIO_NAMES_H_

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/string_view.h"

namespace stasis {

inline constexpr char kPlainNameForm[] = "expected 1 to 64 letters, digits, '_', '-' or '.'";

inline bool IsPlainName(absl::string_view name) {
  return !name.empty() && name.size() <= 64 && name[0] != '.' &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '-' ||
                  c == '.';
         });
}

}  // namespace stasis

#endif  // STASIS_GUEST_SCENARIO_NAMES_H_
