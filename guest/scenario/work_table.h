// The table of work kinds and their parameters: the parser reads by it, and so does a reader's
// page.
#ifndef STASIS_GUEST_SCENARIO_WORK_TABLE_H_
#define STASIS_GUEST_SCENARIO_WORK_TABLE_H_

#include <cstdint>
#include <string>
#include <variant>

#include "absl/types/span.h"
#include "guest/scenario/work_spec.h"

namespace stasis {

enum class ParameterUnit {
  kTime,     // "5ms"; in the table in ns
  kSize,     // "4K"; in bytes
  kCount,    // a number
  kText,     // a string
  kTexts,    // a list of strings
  kPolicies  // a list of policies
};

// One parameter of one kind. Its default, `low` and `high` are in the unit's base; texts and lists
// have no range, and no default but the one that DefaultWork gives them.
struct WorkParameter {
  const char* name;  // the key in a scenario file
  ParameterUnit unit;
  std::variant<absl::Duration WorkSpec::*, uint64_t WorkSpec::*, int64_t WorkSpec::*,
               std::string WorkSpec::*, std::vector<std::string> WorkSpec::*,
               std::vector<SchedPolicy> WorkSpec::*>
      member;
  bool required;  // there is no default that would be right for anybody
  int64_t fallback;
  int64_t low;
  int64_t high;
  const char* what;  // one line
};

// How the workers of a group belong together.
struct GroupShape {
  uint32_t min_workers = 1;  // also the default of `workers`
  uint32_t multiple_of = 1;
  // What worker 0 is, where it does something else than the others; "" where all are equal. Only
  // equal workers are compared with each other.
  const char* leader = "";
};

struct WorkKindInfo {
  WorkKind kind;
  const char* name;
  const char* what;       // one line: what a worker does
  const char* iteration;  // what counts as one
  GroupShape group;
  SchedPolicy policy = SchedPolicy::kNormal;  // where the scenario names none
  absl::Span<const WorkParameter> parameters;
};

// In the order of WorkKind.
absl::Span<const WorkKindInfo> WorkKinds();
const WorkKindInfo& InfoOf(WorkKind kind);

// One group of the kind with the default of every parameter.
WorkSpec DefaultWork(WorkKind kind);

// As it would be written in a scenario file: "5ms", "4K", "20".
std::string ParameterText(ParameterUnit unit, int64_t value);

}  // namespace stasis

#endif  // STASIS_GUEST_SCENARIO_WORK_TABLE_H_
