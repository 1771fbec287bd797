// Judge: whether what was measured is what the scenario expects. Pure.
#ifndef STASIS_GUEST_SCENARIO_JUDGE_H_
#define STASIS_GUEST_SCENARIO_JUDGE_H_

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "guest/scenario/measurements.h"
#include "guest/scenario/scenario.h"

namespace stasis {

// One expectation and how it came out.
struct Outcome {
  std::string name;      // "evidence", or one of the table of expectations (expect_table.h)
  std::string of;        // of an entry of a list: "web p99"; else ""
  std::string limit;     // as a person reads it: "500ms"
  std::string measured;  // "1.98s"
  bool ok = false;
  std::string detail;  // which worker, where, when: the one that was worst
  bool missing = false;  // the kernel does not provide what is expected: neither held nor broken
  std::string reason;  // of "scheduler": the kind of its end, which should_fail may name
};

// The limits of what a scenario says nothing about.
struct DefaultLimits {
  absl::Duration max_gap = absl::Seconds(1);
  double scale = 1;  // by which they have been multiplied already
};
// On an emulated host, by what the calibration run before the workers' start took. What a scenario
// writes is never scaled.
DefaultLimits ScaledLimits(uint64_t calibration_ns, bool emulated);
// A byte through a pipe and back on hardware of today: the reference of ScaledLimits.
inline constexpr uint64_t kReferenceCalibrationNs = 600;

// scheduler       of a scenario that names one: it was seen attached from the first to the last sample
//                 ("scheduler_load" when it never was). When it was not, nothing else is judged: the
//                 run was cut short.
//
// Then evidence, then the scenario's expectations in the order of their table, which says what
// each one means. max_gap is judged in any case.
//
// evidence        the run lasted for the scenario's duration, and all steps were carried out; every
//                 worker started, made at least one iteration and was still there at the end, or
//                 until a step ended it. Always judged: figures of a run that did not happen prove
//                 nothing.
// max_spread      compares CPU time, not iterations: it is what a scheduler hands out, while
//                 iterations also differ by caches, SMT siblings and clock rates. Only equal
//                 workers are compared with each other: those of one entry of a cgroup's `work`.
std::vector<Outcome> Judge(const Scenario& scenario, const Measurements& measurements,
                           const DefaultLimits& defaults = {});

// The verdict over all outcomes. With should_fail the named expectation must not hold (of a list, at
// least one entry), and everything else must.
struct Judgement {
  bool pass = false;
  bool missing = false;  // nothing is broken, but something could not be judged
  std::string reason;  // one line: the first failure, or why the pass is one
};
// Whether should_fail speaks of `outcome`, in whatever way that came out.
bool ShouldFail(const Scenario& scenario, const Outcome& outcome);
Judgement Conclude(const Scenario& scenario, const std::vector<Outcome>& outcomes);

}  // namespace stasis

#endif  // STASIS_GUEST_SCENARIO_JUDGE_H_
