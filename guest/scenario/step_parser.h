// [[step]] of a scenario file. Host only.
#ifndef STASIS_GUEST_SCENARIO_STEP_PARSER_H_
#define STASIS_GUEST_SCENARIO_STEP_PARSER_H_

#include "guest/scenario/scenario.h"
#include "guest/scenario/toml_reader.h"

namespace stasis {

// Reads the array of steps into scenario->steps; everything else of the scenario has been read.
// Refused are steps out of order, outside of the run, at the same time, and actions that make no
// sense at their time; with `groups`, also CPUs that the machine lacks.
void ReadSteps(TomlReader* reader, const toml::node& node, const CpuGroups* groups,
               Scenario* scenario);

// Whether some second of the run, or all of a run without steps, has no change in it.
bool HasQuietSecond(const Scenario& scenario);

}  // namespace stasis

#endif  // STASIS_GUEST_SCENARIO_STEP_PARSER_H_
