// Quantities with units in scenario files and on the command line: "10s", "512M".
#ifndef STASIS_GUEST_SCENARIO_UNITS_H_
#define STASIS_GUEST_SCENARIO_UNITS_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace stasis {

// "10s", "5ms", "1.5s", "2m", "100us", "1h30m". Error: InvalidArgument saying what was expected; a
// bare number is told that it has no unit.
absl::StatusOr<absl::Duration> ParseDuration(absl::string_view text);

// "512M", "2G", "65536K" (powers of 1024), also "512MiB". Error: as above; also 0 and 2^63 and
// more.
absl::StatusOr<uint64_t> ParseMemoryBytes(absl::string_view text);

}  // namespace stasis

#endif  // STASIS_GUEST_SCENARIO_UNITS_H_
