// Measurements: the figures of one run, from the agent's samples of the workers.
#ifndef STASIS_GUEST_SCENARIO_MEASUREMENTS_H_
#define STASIS_GUEST_SCENARIO_MEASUREMENTS_H_

#include <cstdint>
#include <map>
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
  uint64_t start_ns = 0;      // when it was let go: the start of the run, or a step
  uint64_t stop_ns = 0;       // when a step stopped it; 0: it was there until the end
  uint64_t frozen_ns = 0;     // how long its cgroup was frozen meanwhile
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
    v("start_ns", self.start_ns);
    v("stop_ns", self.stop_ns);
    v("frozen_ns", self.frozen_ns);
    v("wakeup", self.wakeup);
    v("response", self.response);
  }
};

// One worker in one phase.
struct PhaseFigures {
  uint32_t index = 0;  // of the worker
  uint64_t iterations = 0;
  uint64_t run_ns = 0;
  bool frozen = false;
  CpuSet cpus_used;
  CpuSet cpus_allowed;

  template <typename V, typename Self>
  static void VisitFields(V& v, Self& self) {
    v("index", self.index);
    v("iterations", self.iterations);
    v("run_ns", self.run_ns);
    v("frozen", self.frozen);
    v("cpus_used", self.cpus_used);
    v("cpus_allowed", self.cpus_allowed);
  }
};

// A time in which no step changed anything: from the start, or kStepTransition after a step, until
// the next step or the end. Without steps there is one, the whole run.
struct PhaseMeasurement {
  uint32_t steps = 0;  // before it
  uint64_t start_ns = 0;
  uint64_t end_ns = 0;
  std::vector<PhaseFigures> workers;  // those that lived through all of it

  template <typename V, typename Self>
  static void VisitFields(V& v, Self& self) {
    v("steps", self.steps);
    v("start_ns", self.start_ns);
    v("end_ns", self.end_ns);
    v("workers", self.workers);
  }
};

// What became of a step.
struct StepMeasurement {
  uint32_t index = 0;
  std::string what;         // StepText
  uint64_t planned_ns = 0;  // since the start of the run, as the two below
  uint64_t began_ns = 0;
  uint64_t ended_ns = 0;
  std::string error;  // "": it was carried out

  template <typename V, typename Self>
  static void VisitFields(V& v, Self& self) {
    v("index", self.index);
    v("what", self.what);
    v("planned_ns", self.planned_ns);
    v("began_ns", self.began_ns);
    v("ended_ns", self.ended_ns);
    v("error", self.error);
  }
};

// A work group over time.
struct GroupMeasurement {
  std::string cgroup;
  uint32_t work = 0;
  uint64_t stall_ns = 0;  // longest time in which one wanted the CPU and none got anything done
  uint64_t stall_at_ns = 0;
  std::vector<uint64_t> iterations;  // of all its workers so far, at each of Measurements::marks_ns

  template <typename V, typename Self>
  static void VisitFields(V& v, Self& self) {
    v("cgroup", self.cgroup);
    v("work", self.work);
    v("stall_ns", self.stall_ns);
    v("stall_at_ns", self.stall_at_ns);
    v("iterations", self.iterations);
  }
};

// How evenly runnable workers were spread, over all samples.
struct ImbalanceMeasurement {
  uint64_t samples = 0;
  double mean = 0;
  uint64_t most = 0;
  uint64_t most_at_ns = 0;
  uint32_t busy_cpu = 0;  // of the most
  uint32_t free_cpu = 0;

  template <typename V, typename Self>
  static void VisitFields(V& v, Self& self) {
    v("samples", self.samples);
    v("mean", self.mean);
    v("most", self.most);
    v("most_at_ns", self.most_at_ns);
    v("busy_cpu", self.busy_cpu);
    v("free_cpu", self.free_cpu);
  }
};

struct Measurements {
  uint64_t start_ns = 0;  // when all workers were let go
  uint64_t end_ns = 0;    // when the last sample was taken, before they were told to stop
  std::vector<WorkerMeasurement> workers;
  std::optional<SchedulerMeasurement> scheduler;  // of a scenario that names one
  std::vector<PhaseMeasurement> phases;
  std::vector<StepMeasurement> steps;  // those that were carried out
  std::vector<uint64_t> marks_ns;      // evenly spaced, at most 256
  std::vector<GroupMeasurement> groups;
  std::optional<ImbalanceMeasurement> imbalance;  // where the scenario expects something of it
  // How much the counters of sched_ext grew; absent where the kernel has none.
  std::optional<std::map<std::string, uint64_t>> scx_events;
  uint64_t calibration_ns = 0;  // what a piece of kernel work took before the run

  template <typename V, typename Self>
  static void VisitFields(V& v, Self& self) {
    v("start_ns", self.start_ns);
    v("end_ns", self.end_ns);
    v("workers", self.workers);
    v("scheduler", self.scheduler);
    v("phases", self.phases);
    v("steps", self.steps);
    v("marks_ns", self.marks_ns);
    v("groups", self.groups);
    v("imbalance", self.imbalance);
    v("scx_events", self.scx_events);
    v("calibration_ns", self.calibration_ns);
  }
};

}  // namespace stasis

#endif  // STASIS_GUEST_SCENARIO_MEASUREMENTS_H_
