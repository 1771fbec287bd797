// Scenario: what a scenario file says, as host and guest agent both see it.
//
// The host makes one from TOML (scenario/parser.h), the agent carries it out (agent/), the host
// judges what was measured (scenario/judge.h). Everything here is plain data.
#ifndef STASIS_GUEST_SCENARIO_SCENARIO_H_
#define STASIS_GUEST_SCENARIO_SCENARIO_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "guest/json/fields.h"
#include "guest/scenario/cgroup_spec.h"
#include "guest/scenario/cpu_set.h"
#include "guest/scenario/expect_spec.h"
#include "guest/scenario/scheduler_spec.h"
#include "guest/scenario/step_spec.h"

namespace stasis {

// Carried out by the host; the agent only passes it on.
struct MachineSpec {
  std::optional<std::string> topology;  // "1n2l2c1t"
  // Between NUMA nodes, as SLIT has them; empty: 10 and 20. Only for topologies of as many nodes.
  std::vector<std::vector<uint32_t>> distances;
  std::optional<uint64_t> memory_bytes;
  bool kaslr = false;  // the kernel may move itself
  std::string cmdline;                       // appended to the kernel's command line
  std::vector<std::string> required_config;  // "SCHED_CLASS_EXT", without CONFIG_
  uint32_t min_cpus = 1;
  bool needs_smt = false;
  std::vector<std::string> disks;  // as --disk takes them

  template <typename V, typename Self>
  static void VisitFields(V& v, Self& self) {
    v("topology", self.topology);
    v.Optional("distances", self.distances);
    v("memory_bytes", self.memory_bytes);
    v.Optional("kaslr", self.kaslr);
    v("cmdline", self.cmdline);
    v("required_config", self.required_config);
    v("min_cpus", self.min_cpus);
    v("needs_smt", self.needs_smt);
    v("disks", self.disks);
  }
};

struct Scenario {
  std::string name;  // the file's name without .toml
  std::string summary;
  absl::Duration duration;
  MachineSpec machine;
  std::optional<SchedulerSpec> scheduler;  // absent: the kernel's own
  std::vector<CgroupSpec> cgroups;  // a parent stands before its children
  std::vector<StepSpec> steps;      // in the order of their times
  ExpectSpec expect;

  template <typename V, typename Self>
  static void VisitFields(V& v, Self& self) {
    v("name", self.name);
    v("summary", self.summary);
    v("duration_ns", self.duration);
    v("machine", self.machine);
    v("scheduler", self.scheduler);
    v("cgroups", self.cgroups);
    v.Optional("steps", self.steps);
    v("expect", self.expect);
  }
};

// Number of workers that are started in the whole run: those of work that a step starts again count
// again.
uint32_t WorkerCount(const Scenario& scenario);

// Whether `of` (a cgroup, with all below it, or the name of work) means this work of this cgroup.
bool Means(const std::string& of, const std::string& cgroup, const WorkSpec& work);

// All schedulers that the scenario names, in its order: [scheduler] and those of steps.
std::vector<SchedulerSpec*> SchedulersOf(Scenario* scenario);

// The programs that the scenario runs in the guest: work of kind command and steps.
std::vector<std::string> ProgramsOf(const Scenario& scenario);

}  // namespace stasis

#endif  // STASIS_GUEST_SCENARIO_SCENARIO_H_
