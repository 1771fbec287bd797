// One function per expectation, for judge.cc. What each one means: expect_table.cc.
//
// The figures come from a guest: indices in them may point anywhere.
#ifndef STASIS_GUEST_SCENARIO_JUDGE_FIGURES_H_
#define STASIS_GUEST_SCENARIO_JUDGE_FIGURES_H_

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "guest/scenario/judge.h"

namespace stasis::judge {

// Three digits are as much as is worth reading.
std::string Readable(absl::Duration duration);
absl::Duration Ns(uint64_t ns);
std::string NameOf(const WorkerMeasurement& worker);
// How long it could run: from its start to its end, without the time that it was frozen.
absl::Duration LifeOf(const WorkerMeasurement& worker, const Measurements& measurements);

Outcome Gap(absl::Duration limit, const Measurements& measurements);
Outcome Spread(double limit, const Measurements& measurements);
Outcome Isolation(const Measurements& measurements);
Outcome Iterations(uint64_t limit, const Scenario& scenario, const Measurements& measurements);
Outcome IterationRate(double limit, const Measurements& measurements);
Outcome Migrations(uint64_t limit, const Measurements& measurements);
Outcome MigrationRate(double limit, const Measurements& measurements);
Outcome Variation(double limit, const Measurements& measurements);
Outcome Stall(absl::Duration limit, const Measurements& measurements);
Outcome Imbalance(double limit, const Measurements& measurements);
// One outcome per percentile.
void Latency(const char* name, const LatencyExpect& entry, const Scenario& scenario,
             const Measurements& measurements, std::vector<Outcome>* outcomes);
Outcome Ratio(const RatioExpect& entry, const Scenario& scenario, const Measurements& measurements);
Outcome ScxEvent(const ScxEventExpect& entry, const Measurements& measurements);

}  // namespace stasis::judge

#endif  // STASIS_GUEST_SCENARIO_JUDGE_FIGURES_H_
