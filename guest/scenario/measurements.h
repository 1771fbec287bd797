// Measurements: the figures of one run, from the agent's samples of the workers.
#ifndef STASIS_GUEST_SCENARIO_MEASUREMENTS_H_
#define STASIS_GUEST_SCENARIO_MEASUREMENTS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "guest/json/fields.h"
#include "guest/scenario/cpu_set.h"
#include "guest/scenario/histogram.h"
#include "guest/scenario/scheduler_spec.h"

namespace stasis {

// Times are the guest's CLOCK_MONOTONIC in ns.
struct WorkerMeasurement {
  uint32_t index = 0;  // over the whole scenario, in the order of the file
  std::string cgroup;
  uint32_t work = 0;  // index of the work group in the cgroup
  std::string kind;
  std::string role;  // "" or what it is that the others of its group are not (work_table.h)
  int32_t pid = 0;
  bool started = false;      // it reached its first iteration
  bool ended_early = false;  // it was gone before the end of the run
  int32_t exit_code = 0;     // of a worker that ended early
  int32_t exit_signal = 0;
  uint64_t iterations = 0;
  uint64_t run_ns = 0;                   // CPU time
  std::optional<uint64_t> run_delay_ns;  // waiting for a CPU; absent without CONFIG_SCHED_INFO
  uint64_t max_gap_ns = 0;               // longest time runnable without running
  uint64_t gap_at_ns = 0;                // when that gap began
  uint32_t gap_cpu = 0;                  // where it ran after the gap
  bool gap_unfinished = false;           // it was still waiting at the end of the run
  uint64_t migrations = 0;               // changes of CPU that it saw itself
  CpuSet cpus_used;
  CpuSet cpus_allowed;
  uint64_t last_seen_ns = 0;  // when it last read the clock (or woke up)
  // From a wake-up by a partner or a timer until it ran, and from asking for something until it was
  // done; empty for kinds that have no such thing.
  Histogram wakeup;
  Histogram response;

  template <typename V, typename Self>
  static void VisitFields(V& v, Self& self) {
    v("index", self.index);
    v("cgroup", self.cgroup);
    v("work", self.work);
    v("kind", self.kind);
    v("role", self.role);
    v("pid", self.pid);
    v("started", self.started);
    v("ended_early", self.ended_early);
    v("exit_code", self.exit_code);
    v("exit_signal", self.exit_signal);
    v("iterations", self.iterations);
    v("run_ns", self.run_ns);
    v("run_delay_ns", self.run_delay_ns);
    v("max_gap_ns", self.max_gap_ns);
    v("gap_at_ns", self.gap_at_ns);
    v("gap_cpu", self.gap_cpu);
    v("gap_unfinished", self.gap_unfinished);
    v("migrations", self.migrations);
    v("cpus_used", self.cpus_used);
    v("cpus_allowed", self.cpus_allowed);
    v("last_seen_ns", self.last_seen_ns);
    v("wakeup", self.wakeup);
    v("response", self.response);
  }
};

struct Measurements {
  uint64_t start_ns = 0;  // when all workers were let go
  uint64_t end_ns = 0;    // when the last sample was taken, before they were told to stop
  std::vector<WorkerMeasurement> workers;
  std::optional<SchedulerMeasurement> scheduler;  // of a scenario that names one

  template <typename V, typename Self>
  static void VisitFields(V& v, Self& self) {
    v("start_ns", self.start_ns);
    v("end_ns", self.end_ns);
    v("workers", self.workers);
    v("scheduler", self.scheduler);
  }
};

}  // namespace stasis

#endif  // STASIS_GUEST_SCENARIO_MEASUREMENTS_H_
