// The program of a scenario's scheduler on this host: where it is, and what keeps it from running.
#ifndef STASIS_TOOLS_HARNESS_SCHEDULER_PROGRAM_H_
#define STASIS_TOOLS_HARNESS_SCHEDULER_PROGRAM_H_

#include <optional>
#include <string>

#include "guest/scenario/scheduler_spec.h"
#include "tools/harness/verdict.h"

namespace stasis {

// What is wrong with a program that should run in a guest of this host's architecture, so that it
// is said before anything is booted. Usage: not there, no program, not executable, of another
// architecture, in a place that a guest hides. Error: it needs a library that this host lacks.
std::optional<Finding> CheckSchedulerProgram(const std::string& path);

// Finds the program of `spec` for a kernel of that release: its path, or its name in
// <cache>/schedulers/<release>, where tools/schedulers/build puts it. Error: not built for it.
struct SchedulerProgram {
  std::string path;                // absolute
  std::optional<Finding> finding;  // or why not
};
SchedulerProgram FindSchedulerProgram(const SchedulerSpec& spec, const std::string& cache,
                                      const std::string& release);

}  // namespace stasis

#endif  // STASIS_TOOLS_HARNESS_SCHEDULER_PROGRAM_H_
