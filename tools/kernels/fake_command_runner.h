// FakeCommandRunner: answers commands from a function and keeps what was asked.
#ifndef STASIS_TOOLS_KERNELS_FAKE_COMMAND_RUNNER_H_
#define STASIS_TOOLS_KERNELS_FAKE_COMMAND_RUNNER_H_

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "tools/kernels/command_runner.h"

namespace stasis {

class FakeCommandRunner : public CommandRunner {
 public:
  using Answer = std::function<CommandResult(const Command&)>;
  explicit FakeCommandRunner(Answer answer) : answer_(std::move(answer)) {}

  absl::StatusOr<CommandResult> Run(const Command& command) override {
    lines_.push_back(CommandLine(command));
    return answer_(command);
  }
  const std::vector<std::string>& lines() const { return lines_; }

 private:
  Answer answer_;
  std::vector<std::string> lines_;
};

}  // namespace stasis

#endif  // STASIS_TOOLS_KERNELS_FAKE_COMMAND_RUNNER_H_
