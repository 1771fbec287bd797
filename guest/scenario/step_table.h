// The table of actions of steps: the parser reads by it, and the reference page is made from it.
#ifndef STASIS_GUEST_SCENARIO_STEP_TABLE_H_
#define STASIS_GUEST_SCENARIO_STEP_TABLE_H_

#include "absl/types/span.h"
#include "guest/scenario/step_spec.h"

namespace stasis {

// What stands behind the action's own key.
enum class ActionTarget { kCgroup, kWork, kCpus, kCommand, kText, kTrue };
// What stands behind `to`.
enum class ActionOperand { kNone, kCpus, kWeight, kMax, kMemory, kCgroup };

struct ActionInfo {
  ActionKind kind;
  const char* name;  // the key in a scenario file
  ActionTarget target;
  ActionOperand to;
  const char* what;     // one line
  const char* example;  // as it is written
};

// In the order of ActionKind.
absl::Span<const ActionInfo> Actions();
const ActionInfo& InfoOf(ActionKind kind);

}  // namespace stasis

#endif  // STASIS_GUEST_SCENARIO_STEP_TABLE_H_
