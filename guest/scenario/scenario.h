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
#include "guest/scenario/scheduler_spec.h"
#include "guest/scenario/work_spec.h"

namespace stasis {

// cpu.max: `quota` of CPU time in each `period`.
struct CpuMax {
  absl::Duration quota;
  absl::Duration period;

  template <typename V, typename Self>
  static void VisitFields(V& v, Self& self) {
    v("quota_ns", self.quota);
    v("period_ns", self.period);
  }
};

struct CgroupSpec {
  std::string name;
  std::string cpus;                // ResolveCpus expression; empty: all
  std::optional<uint32_t> weight;  // cpu.weight, 1..10000
  std::optional<CpuMax> max;
  std::vector<WorkSpec> work;

  template <typename V, typename Self>
  static void VisitFields(V& v, Self& self) {
    v("name", self.name);
    v("cpus", self.cpus);
    v("weight", self.weight);
    v("max", self.max);
    v("work", self.work);
  }
};

// Carried out by the host; the agent only passes it on.
struct MachineSpec {
  std::optional<std::string> topology;  // "1n2l2c1t"
  std::optional<uint64_t> memory_bytes;
  std::string cmdline;                       // appended to the kernel's command line
  std::vector<std::string> required_config;  // "SCHED_CLASS_EXT", without CONFIG_
  uint32_t min_cpus = 1;
  bool needs_smt = false;
  std::vector<std::string> disks;  // as --disk takes them

  template <typename V, typename Self>
  static void VisitFields(V& v, Self& self) {
    v("topology", self.topology);
    v("memory_bytes", self.memory_bytes);
    v("cmdline", self.cmdline);
    v("required_config", self.required_config);
    v("min_cpus", self.min_cpus);
    v("needs_smt", self.needs_smt);
    v("disks", self.disks);
  }
};

// What must hold at the end (scenario/judge.h says exactly what each one means).
struct ExpectSpec {
  std::optional<absl::Duration> max_gap;
  std::optional<double> max_spread;  // 0..1
  bool isolation = false;
  std::optional<uint64_t> min_iterations;
  // The scenario is a demonstration of a failure: the expectation of this name ("max_gap", ...)
  // must not hold, or the scheduler must end in this way (scenario/scheduler_judge.h).
  std::optional<std::string> should_fail;

  template <typename V, typename Self>
  static void VisitFields(V& v, Self& self) {
    v("max_gap_ns", self.max_gap);
    v("max_spread", self.max_spread);
    v("isolation", self.isolation);
    v("min_iterations", self.min_iterations);
    v("should_fail", self.should_fail);
  }
};

struct Scenario {
  std::string name;  // the file's name without .toml
  std::string summary;
  absl::Duration duration;
  MachineSpec machine;
  std::optional<SchedulerSpec> scheduler;  // absent: the kernel's own
  std::vector<CgroupSpec> cgroups;
  ExpectSpec expect;

  template <typename V, typename Self>
  static void VisitFields(V& v, Self& self) {
    v("name", self.name);
    v("summary", self.summary);
    v("duration_ns", self.duration);
    v("machine", self.machine);
    v("scheduler", self.scheduler);
    v("cgroups", self.cgroups);
    v("expect", self.expect);
  }
};

// Number of workers of all work groups.
uint32_t WorkerCount(const Scenario& scenario);

}  // namespace stasis

#endif  // STASIS_GUEST_SCENARIO_SCENARIO_H_
