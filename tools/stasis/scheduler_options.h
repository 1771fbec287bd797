// --scheduler of `stasis run`: another scheduler than the scenario's.
#ifndef STASIS_TOOLS_STASIS_SCHEDULER_OPTIONS_H_
#define STASIS_TOOLS_STASIS_SCHEDULER_OPTIONS_H_

#include <optional>
#include <string>
#include <vector>

#include "guest/scenario/scenario.h"
#include "tools/harness/guest_setup.h"
#include "tools/harness/verdict.h"

namespace CLI {
class App;
}

namespace stasis {

struct SchedulerOptions {
  std::string scheduler;  // a path, a name, "none", or empty: the scenario's
  // What stands behind "--"; nullopt without it.
  std::optional<std::vector<std::string>> args;
};
void AddSchedulerOptions(CLI::App* command, SchedulerOptions* options);

// Splits argv at the first "--": returns what stands behind it, and takes both away from `argc`.
std::optional<std::vector<std::string>> TakeBehindDashes(int* argc, char** argv);

// The command line wins over the scenario: puts its scheduler into `scenario`, and what that needs
// into `request`. `note` gets one line when something of the scenario is replaced. Findings: those
// of CheckSchedulerProgram; arguments without a scheduler; a scenario that should see the scheduler
// fail and has none.
std::optional<Finding> TakeScheduler(const SchedulerOptions& options, Scenario* scenario,
                                     GuestRequest* request, std::string* note);

}  // namespace stasis

#endif  // STASIS_TOOLS_STASIS_SCHEDULER_OPTIONS_H_
