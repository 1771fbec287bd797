// Compares the topology that the guest kernel shows in sysfs with the one that was asked for.
#ifndef STASIS_TOOLS_HARNESS_TOPOLOGY_CHECK_H_
#define STASIS_TOOLS_HARNESS_TOPOLOGY_CHECK_H_

#include <string>
#include <vector>

#include "guest/scenario/cpu_set.h"
#include "guest/wire/messages.h"
#include "vmm/topology/topology.h"

namespace stasis {

// What a guest kernel can be expected to see, beyond CPUs, packages, cores and threads. A kernel
// without a NUMA table (device tree or command-line discovery on x86, CONFIG_NUMA=n) sees one node.
struct TopologyExpectations {
  bool numa = true;
};

// One line per difference, at most 20; empty: the guest sees what was asked for.
std::vector<std::string> CompareTopology(const Topology& asked, const wire::Topology& seen,
                                         const TopologyExpectations& expectations);

// What a scenario's CPU names stand for on that machine.
CpuGroups CpuGroupsOf(const Topology& topology);

// "8 CPUs: 2 packages, 4 LLCs, 8 cores, 1 thread per core; 2 NUMA nodes (10 20 / 20 10)".
std::string DescribeTopology(const Topology& topology);
std::string DescribeTopology(const wire::Topology& seen);

}  // namespace stasis

#endif  // STASIS_TOOLS_HARNESS_TOPOLOGY_CHECK_H_
