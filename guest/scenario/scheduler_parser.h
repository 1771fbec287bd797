// The [scheduler] table of a scenario file. Host only.
#ifndef STASIS_GUEST_SCENARIO_SCHEDULER_PARSER_H_
#define STASIS_GUEST_SCENARIO_SCHEDULER_PARSER_H_

#include "guest/scenario/scheduler_spec.h"
#include "guest/scenario/toml_reader.h"

namespace stasis {

// Errors are kept by `reader`. A relative path is taken from the folder of the scenario file.
void ReadScheduler(TomlReader* reader, const toml::node& node, SchedulerSpec* scheduler);

// The keys of [scheduler]; their handlers fill in *scheduler.
TomlReader::Keys SchedulerKeys(TomlReader* reader, SchedulerSpec* scheduler);

}  // namespace stasis

#endif  // STASIS_GUEST_SCENARIO_SCHEDULER_PARSER_H_
