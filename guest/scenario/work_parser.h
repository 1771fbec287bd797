// One entry of `work = [...]` in a scenario file, read by the table of work kinds. Host only.
#ifndef STASIS_GUEST_SCENARIO_WORK_PARSER_H_
#define STASIS_GUEST_SCENARIO_WORK_PARSER_H_

#include "guest/scenario/toml_reader.h"
#include "guest/scenario/work_spec.h"

namespace stasis {

// Returns false after an error, which `reader` has. What is not written gets its default.
bool ReadWork(TomlReader* reader, const toml::node& node, WorkSpec* work);

// The keys that all kinds have. `work` is for their handlers.
TomlReader::Keys CommonWorkKeys(TomlReader* reader, WorkSpec* work);

}  // namespace stasis

#endif  // STASIS_GUEST_SCENARIO_WORK_PARSER_H_
