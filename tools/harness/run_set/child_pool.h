// ChildPool: runs commands as child processes, a few at a time, and ends them cleanly.
#ifndef STASIS_TOOLS_HARNESS_RUN_SET_CHILD_POOL_H_
#define STASIS_TOOLS_HARNESS_RUN_SET_CHILD_POOL_H_

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace stasis {

struct ChildCommand {
  std::vector<std::string> argv;  // argv[0]: a path
  // On top of this process's environment; a name without a value is taken out of it.
  std::map<std::string, std::optional<std::string>> environment;
  bool show = false;  // what it writes goes to our stdout and stderr as well, as it comes
};

struct ChildResult {
  bool started = false;  // false: the pool was interrupted before its turn
  int exit_code = -1;    // 128 + signal when one ended it
  std::string output;    // of stdout, the last 4 MiB
  std::string error;     // of stderr, the last 256 KiB
  absl::Duration wall;
};

struct PoolCallbacks {
  std::function<void(size_t index)> on_start;
  // One line of its stderr, without the newline. Not called for a child that is shown.
  std::function<void(size_t index, absl::string_view line)> on_error_line;
  std::function<void(size_t index, const ChildResult& result)> on_end;
  // About once a second while something runs.
  std::function<void()> on_tick;
};

struct PoolResult {
  std::vector<ChildResult> children;  // in the order of the commands
  bool interrupted = false;           // by SIGINT, SIGTERM, SIGHUP or SIGQUIT
};

// Runs all commands, `jobs` at a time and in their order, and returns when all have ended.
//
// Each child has a process group of its own and gets SIGTERM when this process dies. SIGINT,
// SIGTERM, SIGHUP and SIGQUIT to this process go to all children, and no further one is started; a
// child that is still there `patience` later is killed with its group. SIGUSR1 (a dump, please) is
// passed on as well; a signal that is ignored stays so. stdin of a child is /dev/null. The signals are blocked in the calling thread
// for the time of the call: one call at a time, from the main thread (a child dies with the thread
// that made it).
//
// Error: errno of what this process itself needs (signalfd). A command that cannot be executed ends
// with 127 and the reason on its stderr, as in a shell.
absl::StatusOr<PoolResult> RunChildren(const std::vector<ChildCommand>& commands, uint32_t jobs,
                                       const PoolCallbacks& callbacks,
                                       absl::Duration patience = absl::Seconds(20));

}  // namespace stasis

#endif  // STASIS_TOOLS_HARNESS_RUN_SET_CHILD_POOL_H_
