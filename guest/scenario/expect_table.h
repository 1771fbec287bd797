// The table of expectations: the parser reads by it, and the reference page is made from it.
#ifndef STASIS_GUEST_SCENARIO_EXPECT_TABLE_H_
#define STASIS_GUEST_SCENARIO_EXPECT_TABLE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "guest/scenario/expect_spec.h"

namespace stasis {

struct ExpectationInfo {
  const char* name;  // the key in [expect], and the word for should_fail
  // Says how it is read: a time, true or false, a whole number, a number, or a list.
  std::variant<std::optional<absl::Duration> ExpectSpec::*, bool ExpectSpec::*,
               std::optional<uint64_t> ExpectSpec::*, std::optional<double> ExpectSpec::*,
               std::vector<LatencyExpect> ExpectSpec::*, std::vector<RatioExpect> ExpectSpec::*,
               std::vector<ScxEventExpect> ExpectSpec::*>
      member;
  double low, high;      // of numbers
  bool host_can_break;   // a host that is too busy may be why it does not hold
  const char* what;      // a sentence or two
  const char* example;   // as it is written
};

absl::Span<const ExpectationInfo> Expectations();
// Null for a name that is none.
const ExpectationInfo* ExpectationByName(absl::string_view name);
// Whether the scenario says anything about it.
bool IsSet(const ExpectSpec& expect, const ExpectationInfo& info);

}  // namespace stasis

#endif  // STASIS_GUEST_SCENARIO_EXPECT_TABLE_H_
