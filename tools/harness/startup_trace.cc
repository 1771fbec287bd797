#include "tools/harness/startup_trace.h"

#include <time.h>

#include <cstddef>

namespace stasis {
namespace {

struct RawMark {
  const char* finished;
  timespec at;
  timespec cpu;
};

// Fixed and without constructors: the first mark comes before anything else of the program.
RawMark g_marks[16];
size_t g_count = 0;

}  // namespace

void MarkStartup(const char* finished) {
  if (g_count == sizeof(g_marks) / sizeof(g_marks[0])) return;
  RawMark& mark = g_marks[g_count++];
  mark.finished = finished;
  clock_gettime(CLOCK_MONOTONIC, &mark.at);
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &mark.cpu);
}

std::vector<StartupStage> StartupStages() {
  std::vector<StartupStage> stages;
  for (size_t i = 0; i < g_count; ++i) {
    stages.push_back({g_marks[i].finished, absl::TimeFromTimespec(g_marks[i].at),
                      absl::DurationFromTimespec(g_marks[i].cpu)});
  }
  return stages;
}

}  // namespace stasis
