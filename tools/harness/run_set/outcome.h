// Outcome: what became of each run of several, as a table for people and as JSON for programs.
#ifndef STASIS_TOOLS_HARNESS_RUN_SET_OUTCOME_H_
#define STASIS_TOOLS_HARNESS_RUN_SET_OUTCOME_H_

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "nlohmann/json.hpp"
#include "tools/harness/run_set/child_pool.h"
#include "tools/harness/run_set/plan.h"
#include "tools/harness/verdict.h"

namespace stasis {

enum class RunState {
  kPass,
  kInconclusive,
  kError,
  kUsage,
  kFail,
  kSkipped,      // what it needs is not there, and the user said that this is no matter
  kInterrupted,  // by a signal, before its verdict or before its start
};
const char* RunStateName(RunState state);  // "pass", ..., "skipped", "interrupted"

struct RunOutcome {
  PlannedRun run;
  RunState state = RunState::kInterrupted;
  Finding finding;
  nlohmann::json document;  // JsonReport's, with a key `run`; see docs/result-json.md
  std::string text;         // TextReport's, as far as it came
  absl::Duration wall;
};

// Of a run that was made by a child: `written` is what it wrote with --json, "" if it wrote nothing
// (it crashed, was killed, or its lane failed), which is an error of the host or harness.
// `skip_unsupported`: see SkippedOutcome.
RunOutcome OutcomeOf(const PlannedRun& run, const ChildResult& child, const std::string& written,
                     bool skip_unsupported);

// Of a run that was not started: the machine or the kernel lacks what its scenario needs. Not a
// pass, and no reason for an exit code other than 0 either: in the cross product of scenarios and
// machines some do not go together.
RunOutcome SkippedOutcome(const PlannedRun& run, const Finding& why);

// Worst first: a failure that was seen is not hidden by anything else (1); then what is wrong with
// the invocation (2), what the host could not do (3), what could not be told (4); 0 when all passed
// or were skipped. 130 when any was interrupted.
int ExitCodeOf(const std::vector<RunOutcome>& outcomes);

// "FAIL: 1 of 3 runs failed, 2 passed", as the first line of the report.
std::string SummaryLine(const std::vector<RunOutcome>& outcomes);

// One line per run: scenario, number, verdict, time, key figures, cause.
std::string OutcomeTable(const std::vector<RunOutcome>& outcomes);

// SummaryLine, the table, and the whole reports of the first few runs that did not pass.
std::string RunSetReport(const std::vector<RunOutcome>& outcomes);

// "stasis.results/1", see docs/result-json.md.
nlohmann::json RunSetJson(const std::vector<RunOutcome>& outcomes, const JobChoice& jobs);

// A document as text; what is not UTF-8 in it (a guest's words) is replaced.
std::string JsonText(const nlohmann::json& document);

}  // namespace stasis

#endif  // STASIS_TOOLS_HARNESS_RUN_SET_OUTCOME_H_
