#include "guest/scenario/units.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace stasis {
namespace {

bool IsBareNumber(absl::string_view text) {
  double number;
  return absl::SimpleAtod(text, &number);
}

}  // namespace

absl::StatusOr<absl::Duration> ParseDuration(absl::string_view text) {
  absl::Duration duration;
  // absl takes "0" without a unit; a scenario's reader should not have to guess.
  if (IsBareNumber(text)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "'", text, "' has no unit; expected a time such as '", text, "s' or '", text, "ms'"));
  }
  if (!absl::ParseDuration(text, &duration) || duration == absl::InfiniteDuration() ||
      duration == -absl::InfiniteDuration()) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", text,
                     "' is no time; expected a number with ns, us, ms, s, m or h, such "
                     "as '10s'"));
  }
  if (duration < absl::ZeroDuration()) {
    return absl::InvalidArgumentError(absl::StrCat("'", text, "' is negative"));
  }
  return duration;
}

absl::StatusOr<uint64_t> ParseMemoryBytes(absl::string_view text) {
  const size_t digits = static_cast<size_t>(
      std::find_if_not(text.begin(), text.end(), absl::ascii_isdigit) - text.begin());
  const absl::string_view unit = text.substr(digits);
  uint64_t number;
  if (digits == 0 || !absl::SimpleAtoi(text.substr(0, digits), &number)) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", text, "' is no size; expected one such as '512M' or '2G'"));
  }
  if (unit.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "'", text, "' has no unit; expected a size such as '", text, "M' or '", text, "G'"));
  }
  int shift;
  if (unit == "K" || unit == "KiB") {
    shift = 10;
  } else if (unit == "M" || unit == "MiB") {
    shift = 20;
  } else if (unit == "G" || unit == "GiB") {
    shift = 30;
  } else if (unit == "T" || unit == "TiB") {
    shift = 40;
  } else {
    return absl::InvalidArgumentError(
        absl::StrCat("'", text, "': unknown unit '", unit, "'; expected K, M, G or T"));
  }
  if (number == 0 || number > (uint64_t{INT64_MAX} >> shift)) {
    return absl::InvalidArgumentError(absl::StrCat("'", text, "' is out of range"));
  }
  return number << shift;
}

}  // namespace stasis
