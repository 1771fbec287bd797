#include "tools/harness/topology_check.h"

#include <map>
#include <set>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace stasis {
namespace {

constexpr size_t kMostDifferences = 20;

using Places = std::vector<CpuPlace>;

// The CPUs for which `same` holds.
template <typename Same>
CpuSet Group(const Places& places, Same same) {
  CpuSet set;
  for (uint32_t cpu = 0; cpu < places.size(); ++cpu) {
    if (same(places[cpu])) set.Add(cpu);
  }
  return set;
}

class Comparison {
 public:
  Comparison(const Topology& asked, const wire::Topology& seen) : asked_(asked), seen_(seen) {
    for (uint32_t cpu = 0; cpu < asked.cpus(); ++cpu) places_.push_back(asked.Place(cpu));
  }

  std::vector<std::string> Run(const TopologyExpectations& expectations) {
    const CpuSet all = Group(places_, [](const CpuPlace&) { return true; });
    if (!(seen_.online == all)) {
      Differ("online CPUs", all.ToString(), seen_.online.ToString());
      return differences_;  // all else would follow from it
    }
    std::set<uint32_t> reported;
    for (const wire::CpuFacts& cpu : seen_.cpus) {
      if (cpu.cpu >= places_.size() || !reported.insert(cpu.cpu).second) {
        Differ(absl::StrFormat("facts about cpu%d", cpu.cpu), "one report", "another");
        continue;
      }
      CompareCpu(cpu, expectations);
    }
    if (reported.size() != places_.size()) {
      Differ("CPUs described in sysfs", absl::StrCat(places_.size()),
             absl::StrCat(reported.size()));
    }
    ComparePackageNumbers();
    if (expectations.numa) CompareNodes();
    return differences_;
  }

 private:
  void Differ(const std::string& what, const std::string& asked, const std::string& seen) {
    if (differences_.size() >= kMostDifferences) return;
    differences_.push_back(absl::StrFormat("%s: asked for %s, the guest sees %s", what, asked,
                                           seen.empty() ? "none" : seen));
  }

  void CompareSet(uint32_t cpu, const char* what, const CpuSet& asked, const CpuSet& seen) {
    if (asked == seen) return;
    Differ(absl::StrFormat("cpu%d %s", cpu, what), asked.ToString(), seen.ToString());
  }

  void CompareCpu(const wire::CpuFacts& cpu, const TopologyExpectations& expectations) {
    const CpuPlace& place = places_[cpu.cpu];
    auto same_llc = [&](const CpuPlace& p) { return p.llc == place.llc; };
    CompareSet(
        cpu.cpu, "threads of its core",
        Group(places_, [&](const CpuPlace& p) { return same_llc(p) && p.core == place.core; }),
        cpu.threads);
    CompareSet(cpu.cpu, "CPUs of its package",
               Group(places_, [&](const CpuPlace& p) { return p.node == place.node; }),
               cpu.package_cpus);
    if (cpu.caches.empty()) {
      Differ(absl::StrFormat("cpu%d caches", cpu.cpu), "an LLC", "no cache");
    } else {
      CompareSet(cpu.cpu, "CPUs of its LLC", Group(places_, same_llc), cpu.caches.back().shared);
    }
    if (expectations.numa && cpu.node != static_cast<int>(place.node) &&
        !(asked_.nodes() == 1 && cpu.node == -1)) {
      Differ(absl::StrFormat("cpu%d NUMA node", cpu.cpu), absl::StrCat(place.node),
             absl::StrCat(cpu.node));
    }
  }

  // Package numbers are the kernel's to choose, but each package has one of its own.
  void ComparePackageNumbers() {
    std::map<int, std::set<uint32_t>> nodes_of_package;
    for (const wire::CpuFacts& cpu : seen_.cpus) {
      if (cpu.cpu < places_.size()) nodes_of_package[cpu.package].insert(places_[cpu.cpu].node);
    }
    if (nodes_of_package.size() != asked_.nodes()) {
      Differ("packages", absl::StrCat(asked_.nodes()), absl::StrCat(nodes_of_package.size()));
    }
  }

  void CompareNodes() {
    if (seen_.nodes.empty() && asked_.nodes() == 1) return;  // CONFIG_NUMA=n shows none
    if (seen_.nodes.size() != asked_.nodes()) {
      Differ("NUMA nodes", absl::StrCat(asked_.nodes()), absl::StrCat(seen_.nodes.size()));
      return;
    }
    for (uint32_t node = 0; node < asked_.nodes(); ++node) {
      const wire::NodeFacts& facts = seen_.nodes[node];
      const CpuSet cpus = Group(places_, [&](const CpuPlace& p) { return p.node == node; });
      if (!(facts.cpus == cpus)) {
        Differ(absl::StrFormat("node%d CPUs", node), cpus.ToString(), facts.cpus.ToString());
      }
      std::vector<uint32_t> distances;
      for (uint32_t to = 0; to < asked_.nodes(); ++to)
        distances.push_back(asked_.distance(node, to));
      if (facts.distance != distances) {
        Differ(absl::StrFormat("node%d distances", node), absl::StrJoin(distances, " "),
               absl::StrJoin(facts.distance, " "));
      }
    }
  }

  const Topology& asked_;
  const wire::Topology& seen_;
  Places places_;
  std::vector<std::string> differences_;
};

std::string Plural(uint64_t count, absl::string_view what) {
  return absl::StrFormat("%d %s%s", count, what, count == 1 ? "" : "s");
}

std::string Describe(uint64_t cpus, uint64_t packages, uint64_t llcs, uint64_t cores,
                     const std::vector<std::string>& distances) {
  const uint64_t threads = cores == 0 ? 0 : cpus / cores;
  return absl::StrFormat("%s: %s, %s, %s, %s per core; %s%s", Plural(cpus, "CPU"),
                         Plural(packages, "package"), Plural(llcs, "LLC"), Plural(cores, "core"),
                         Plural(threads, "thread"), Plural(distances.size(), "NUMA node"),
                         distances.size() > 1
                             ? absl::StrFormat(" (distances %s)", absl::StrJoin(distances, " / "))
                             : "");
}

}  // namespace

std::vector<std::string> CompareTopology(const Topology& asked, const wire::Topology& seen,
                                         const TopologyExpectations& expectations) {
  return Comparison(asked, seen).Run(expectations);
}

std::string DescribeTopology(const Topology& topology) {
  std::vector<std::string> distances;
  for (uint32_t from = 0; from < topology.nodes(); ++from) {
    std::vector<int> row;
    for (uint32_t to = 0; to < topology.nodes(); ++to) row.push_back(topology.distance(from, to));
    distances.push_back(absl::StrJoin(row, " "));
  }
  return Describe(topology.cpus(), topology.nodes(), topology.llcs(),
                  uint64_t{topology.llcs()} * topology.cores_per_llc(), distances);
}

std::string DescribeTopology(const wire::Topology& seen) {
  std::set<int> packages;
  std::set<std::string> llcs, cores;
  for (const wire::CpuFacts& cpu : seen.cpus) {
    packages.insert(cpu.package);
    cores.insert(cpu.threads.ToString());
    if (!cpu.caches.empty()) llcs.insert(cpu.caches.back().shared.ToString());
  }
  std::vector<std::string> distances;
  for (const wire::NodeFacts& node : seen.nodes) {
    distances.push_back(absl::StrJoin(node.distance, " "));
  }
  if (distances.empty()) distances.push_back("10");  // CONFIG_NUMA=n: one node without a name
  return Describe(seen.online.size(), packages.size(), llcs.size(), cores.size(), distances);
}

CpuGroups CpuGroupsOf(const Topology& topology) {
  CpuGroups groups;
  groups.llcs.resize(topology.llcs());
  groups.nodes.resize(topology.nodes());
  for (uint32_t cpu = 0; cpu < topology.cpus(); ++cpu) {
    const CpuPlace place = topology.Place(cpu);
    groups.online.Add(cpu);
    groups.llcs[place.llc].Add(cpu);
    groups.nodes[place.node].Add(cpu);
  }
  return groups;
}

}  // namespace stasis
