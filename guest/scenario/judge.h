// Judge: whether what was measured is what the scenario expects. Pure.
#ifndef STASIS_GUEST_SCENARIO_JUDGE_H_
#define STASIS_GUEST_SCENARIO_JUDGE_H_

#include <string>
#include <vector>

#include "guest/scenario/measurements.h"
#include "guest/scenario/scenario.h"

namespace stasis {

// One expectation and how it came out.
struct Outcome {
  std::string name;      // "evidence", "max_gap", "max_spread", "isolation", "min_iterations"
  std::string limit;     // as a person reads it: "500ms"
  std::string measured;  // "1.98s"
  bool ok = false;
  std::string detail;  // which worker, where, when: the one that was worst
  std::string reason;  // of "scheduler": the kind of its end, which should_fail may name
};

// scheduler       of a scenario that names one: it was seen attached from the first to the last sample
//                 ("scheduler_load" when it never was). When it was not, nothing else is judged: the
//                 run was cut short.
//
// Then evidence, then the scenario's expectations in this order:
//
// evidence        the run lasted for the scenario's duration; every worker of the scenario started,
//                 made at least one iteration and was still there at the end. Always judged:
//                 figures of a run that did not happen prove nothing.
// max_gap         the longest time for which any worker wanted the CPU and did not get it, gaps
// that
//                 were still going on at the end included.
// max_spread      (most - least) / most of the CPU time of the workers of one work group. CPU time,
//                 not iterations: it is what a scheduler hands out, while iterations also differ by
//                 caches, SMT siblings and clock rates. Only equal workers are compared with each
//                 other: those of one entry of a cgroup's `work`.
// isolation       no worker saw itself on a CPU outside of its cgroup's (and its own) CPUs.
// min_iterations  every worker made that many.
std::vector<Outcome> Judge(const Scenario& scenario, const Measurements& measurements);

// The verdict over all outcomes. With should_fail the named expectation must not hold, and
// everything else must.
struct Judgement {
  bool pass = false;
  std::string reason;  // one line: the first failure, or why the pass is one
};
// Whether should_fail speaks of `outcome`, in whatever way that came out.
bool ShouldFail(const Scenario& scenario, const Outcome& outcome);
Judgement Conclude(const Scenario& scenario, const std::vector<Outcome>& outcomes);

}  // namespace stasis

#endif  // STASIS_GUEST_SCENARIO_JUDGE_H_
