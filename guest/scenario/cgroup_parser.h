// [[cgroup]] of a scenario file. Host only.
#ifndef STASIS_GUEST_SCENARIO_CGROUP_PARSER_H_
#define STASIS_GUEST_SCENARIO_CGROUP_PARSER_H_

#include "guest/scenario/scenario.h"
#include "guest/scenario/toml_reader.h"

namespace stasis {

// Appends to scenario->cgroups. With `groups`, CPUs are checked against the machine.
void ReadCgroup(TomlReader* reader, const toml::node& node, const CpuGroups* groups,
                Scenario* scenario);

// The keys of [[cgroup]]; their handlers fill in *cgroup.
TomlReader::Keys CgroupKeys(TomlReader* reader, CgroupSpec* cgroup);

// "50ms/100ms". Also "max", no limit, where that means something.
bool ReadCpuMax(TomlReader* reader, const toml::node& node, absl::string_view key, bool or_none,
                std::optional<CpuMax>* max);

}  // namespace stasis

#endif  // STASIS_GUEST_SCENARIO_CGROUP_PARSER_H_
