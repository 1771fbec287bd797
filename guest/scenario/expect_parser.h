// [expect] of a scenario file, read by the table of expectations. Host only.
#ifndef STASIS_GUEST_SCENARIO_EXPECT_PARSER_H_
#define STASIS_GUEST_SCENARIO_EXPECT_PARSER_H_

#include "guest/scenario/scenario.h"
#include "guest/scenario/toml_reader.h"

namespace stasis {

// Fills in scenario->expect; cgroups and steps have been read.
void ReadExpect(TomlReader* reader, const toml::node& node, Scenario* scenario);

}  // namespace stasis

#endif  // STASIS_GUEST_SCENARIO_EXPECT_PARSER_H_
