// A scenario as text: everything that it says, and the defaults of what it does not say.
#ifndef STASIS_GUEST_SCENARIO_SCENARIO_TEXT_H_
#define STASIS_GUEST_SCENARIO_SCENARIO_TEXT_H_

#include <string>

#include "guest/scenario/cpu_set.h"
#include "guest/scenario/scenario.h"

namespace stasis {

// A scenario file that says the same. With `groups`, which CPUs the names stand for on that machine
// is in comments.
std::string ScenarioText(const Scenario& scenario, const CpuGroups* groups);

// The page docs/scenario-reference.md: every key, kind of work, action and expectation, by the
// tables that the parser reads by.
std::string ScenarioReference();

}  // namespace stasis

#endif  // STASIS_GUEST_SCENARIO_SCENARIO_TEXT_H_
