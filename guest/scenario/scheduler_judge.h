// Whether a scenario's scheduler was there for the whole run, and how it ended if not. Pure.
#ifndef STASIS_GUEST_SCENARIO_SCHEDULER_JUDGE_H_
#define STASIS_GUEST_SCENARIO_SCHEDULER_JUDGE_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "guest/scenario/judge.h"

namespace stasis {

// The outcome "scheduler", of a scenario that names one: every sample from the first to the last
// one of the run showed it attached (samples of a switch that the scenario asked for aside). Not
// ok: its end, with the kind as `reason`; "scheduler_load" if it was not attached before.
Outcome JudgeScheduler(const Scenario& scenario, const Measurements& measurements);

// What should_fail may say of a scheduler: "scheduler" (any end of one that was attached),
// "scheduler_load" (it never was), and the names of SchedulerEndKind.
std::vector<std::string> SchedulerFailures();
bool IsSchedulerFailure(absl::string_view word);

// Whether `outcome`, one of JudgeScheduler's, is the failure that `word` states.
bool IsStatedFailure(absl::string_view word, const Outcome& outcome);

// True for the outcomes of JudgeScheduler.
bool IsOfScheduler(const Outcome& outcome);

}  // namespace stasis

#endif  // STASIS_GUEST_SCENARIO_SCHEDULER_JUDGE_H_
