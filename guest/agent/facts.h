// What the agent tells about its kernel and machine, read from /proc and /sys.
#ifndef STASIS_GUEST_AGENT_FACTS_H_
#define STASIS_GUEST_AGENT_FACTS_H_

#include <string>

#include "guest/scenario/cpu_set.h"
#include "guest/wire/messages.h"

namespace stasis::agent {

// `root` is "" in the guest; tests put a copy of the files below another directory. What the
// kernel does not say is left at its default: facts are reported, not required.
wire::Hello CollectHello(const std::string& root);
wire::Topology CollectTopology(const std::string& root);

// Scans <root>/proc/kallsyms once; hidden addresses (0) are left out, except per-CPU offsets.
wire::Symbols CollectSymbols(const std::string& root);

// The groups that topology-relative CPU names of a scenario stand for.
CpuGroups GroupsOf(const wire::Topology& topology);

}  // namespace stasis::agent

#endif  // STASIS_GUEST_AGENT_FACTS_H_
