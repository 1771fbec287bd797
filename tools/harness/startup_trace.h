// StartupTrace: how far the process was when, and on how much CPU time, until its guest runs.
#ifndef STASIS_TOOLS_HARNESS_STARTUP_TRACE_H_
#define STASIS_TOOLS_HARNESS_STARTUP_TRACE_H_

#include <vector>

#include "absl/time/time.h"

namespace stasis {

struct StartupStage {
  const char* finished = nullptr;  // a literal: "kernel"
  absl::Time at;                   // CLOCK_MONOTONIC
  absl::Duration cpu;              // of the whole process since its exec
};

// Notes that a stage is over; one system call. The first few marks are kept, so that marks in code
// that runs again are harmless. Main thread only.
void MarkStartup(const char* finished);

// The marks so far, in order.
std::vector<StartupStage> StartupStages();

}  // namespace stasis

#endif  // STASIS_TOOLS_HARNESS_STARTUP_TRACE_H_
