// CommandRunner: starts other programs (apt-get, dpkg-deb, depmod, make) and waits for them.
#ifndef STASIS_TOOLS_KERNELS_COMMAND_RUNNER_H_
#define STASIS_TOOLS_KERNELS_COMMAND_RUNNER_H_

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace stasis {

struct Command {
  std::vector<std::string> argv;                                 // argv[0] is looked up in PATH
  std::string working_directory;                                 // empty: as it is
  std::vector<std::pair<std::string, std::string>> environment;  // set besides what is there
  // Called for every line of standard output and standard error as it comes, without its newline.
  std::function<void(absl::string_view line)> on_line;
};

struct CommandResult {
  int exit_code = 0;         // 128 + signal number for a program that was killed
  std::string output;        // all of standard output
  std::string error_output;  // the last 64 KiB of standard error

  // The line of the error output that says most: the last with "error" or "E:", else the last.
  std::string Reason() const;
};

// The seam for tests: what would be run is recorded and answered by a function.
class CommandRunner {
 public:
  virtual ~CommandRunner() = default;

  // Blocks until the program has ended. Errors: NotFound (no such program, with the name of the
  // Debian package where it is known), the errno's code of fork or pipe. A program that ran and
  // failed is no error here: see exit_code.
  virtual absl::StatusOr<CommandResult> Run(const Command& command) = 0;
};

// The real one. A child gets SIGTERM when the calling thread dies: nothing is left running.
std::unique_ptr<CommandRunner> MakeCommandRunner();

// As a shell line, for messages.
std::string CommandLine(const Command& command);

// Runs and turns an exit code other than 0 into an error: "<what>: <program> failed (exit code 2):
// <reason>"; ResourceExhausted when the program ran out of disk.
absl::StatusOr<CommandResult> RunOrFail(CommandRunner& runner, const Command& command,
                                        absl::string_view what);

}  // namespace stasis

#endif  // STASIS_TOOLS_KERNELS_COMMAND_RUNNER_H_
