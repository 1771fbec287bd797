// RunTimed: a command with the time and the CPU time that it took.
#ifndef STASIS_TOOLS_BENCH_TIMED_COMMAND_H_
#define STASIS_TOOLS_BENCH_TIMED_COMMAND_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace stasis::bench {

struct TimedCommand {
  absl::Duration wall;  // from its start until it has been reaped
  absl::Duration cpu;   // user and system, its own children that it waited for included
  int exit_code = 0;    // 128 + signal when one killed it
  std::string output;   // of standard output
};

// argv[0] is looked up in PATH; standard input is empty, standard error is this process's. Errors:
// errno of pipe, fork and wait4; Aborted for a command that cannot be started.
absl::StatusOr<TimedCommand> RunTimed(const std::vector<std::string>& argv);

}  // namespace stasis::bench

#endif  // STASIS_TOOLS_BENCH_TIMED_COMMAND_H_
