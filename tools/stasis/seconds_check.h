// What an option in seconds may be.
#ifndef STASIS_TOOLS_STASIS_SECONDS_CHECK_H_
#define STASIS_TOOLS_STASIS_SECONDS_CHECK_H_

#include <CLI/CLI.hpp>

namespace stasis {

// More than 0, and no unit. CLI11's own check names the largest double.
CLI::Validator SecondsAboveZero();

}  // namespace stasis

#endif  // STASIS_TOOLS_STASIS_SECONDS_CHECK_H_
