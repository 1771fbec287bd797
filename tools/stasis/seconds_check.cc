#include "tools/stasis/seconds_check.h"

#include <cmath>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace stasis {

CLI::Validator SecondsAboveZero() {
  return CLI::Validator(
      [](const std::string& text) {
        double seconds = 0;
        if (absl::SimpleAtod(text, &seconds) && std::isfinite(seconds) && seconds > 0) {
          return std::string();
        }
        return absl::StrCat("'", text, "' is no number of seconds above 0, such as 40 or 2.5");
      },
      /*validator_desc_=*/"");
}

}  // namespace stasis
