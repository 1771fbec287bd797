#include "tools/stasis/run_stasis.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "absl/strings/str_split.h"

namespace stasis {
namespace {

using Clock = std::chrono::steady_clock;

std::string Binary() {
  const char* source = getenv("TEST_SRCDIR");
  return std::string(source == nullptr ? "bazel-bin" : source) +
         (source == nullptr ? "/tools/stasis/stasis" : "/stasis/tools/stasis/stasis");
}

[[noreturn]] void Child(const std::vector<std::string>& arguments, const RunStasisOptions& options,
                        const int (&pipes)[3][2]) {
  setpgid(0, 0);
  dup2(pipes[0][0], 0);
  dup2(pipes[1][1], 1);
  dup2(pipes[2][1], 2);
  // Dumps only where a test is about them.
  setenv("STASIS_DUMP", "never", 0);
  // They are the test's own, not those of a run in it.
  unsetenv("XML_OUTPUT_FILE");
  unsetenv("TEST_UNDECLARED_OUTPUTS_DIR");
  for (const auto& [name, value] : options.environment) setenv(name.c_str(), value.c_str(), 1);
  if (options.file_size_limit.has_value()) {
    const rlimit limit = {*options.file_size_limit, *options.file_size_limit};
    setrlimit(RLIMIT_FSIZE, &limit);
    signal(SIGXFSZ, SIG_IGN);
  }
  const std::string binary = Binary();
  std::vector<char*> argv = {const_cast<char*>(binary.c_str())};
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  execv(binary.c_str(), argv.data());
  _exit(125);
}

// Reads both outputs to their end, feeds the input, sends the signal.
class Conversation {
 public:
  Conversation(pid_t child, const RunStasisOptions& options, int input, int output, int error)
      : child_(child), options_(options), input_(input), fds_{output, error} {}

  void Run(StasisRun* run) {
    const Clock::time_point deadline = Clock::now() + options_.time_limit;
    while (fds_[0] >= 0 || fds_[1] >= 0) {
      if (Clock::now() > deadline) {
        kill(-child_, SIGKILL);
        timed_out_ = true;
      }
      pollfd polled[3] = {{input_, POLLOUT, 0}, {fds_[0], POLLIN, 0}, {fds_[1], POLLIN, 0}};
      poll(polled, 3, 100);
      if (polled[0].revents != 0) Feed();
      if (polled[1].revents != 0) Take(0, &run->output);
      if (polled[2].revents != 0) Take(1, &run->error);
      if (options_.signal.has_value() && (signals_ == 0 || options_.signal_each_time)) {
        const size_t found = run->error.find(options_.signal_after, signalled_for_);
        if (found != std::string::npos) {
          kill(child_, *options_.signal);
          ++signals_;
          signalled_for_ = found + 1;
        }
      }
    }
    if (input_ >= 0) close(input_);
  }
  bool timed_out() const { return timed_out_; }

 private:
  void Feed() {
    const ssize_t put = write(input_, options_.input.data() + fed_, options_.input.size() - fed_);
    if (put > 0) fed_ += put;
    if (fed_ == options_.input.size() || (put < 0 && errno != EINTR && errno != EAGAIN)) {
      close(input_);
      input_ = -1;
    }
  }
  void Take(int index, std::string* text) {
    char buffer[4096];
    const ssize_t got = read(fds_[index], buffer, sizeof(buffer));
    if (got > 0) {
      text->append(buffer, got);
    } else if (got == 0 || errno != EINTR) {
      close(fds_[index]);
      fds_[index] = -1;
    }
  }

  const pid_t child_;
  const RunStasisOptions& options_;
  int input_;
  int fds_[2];
  size_t fed_ = 0;
  int signals_ = 0;
  size_t signalled_for_ = 0;  // up to here
  bool timed_out_ = false;
};

}  // namespace

StasisRun RunStasis(const std::vector<std::string>& arguments, const RunStasisOptions& options) {
  StasisRun run;
  signal(SIGPIPE, SIG_IGN);
  int pipes[3][2];
  for (auto& pair : pipes) {
    if (pipe2(pair, O_CLOEXEC) != 0) return run;
  }
  const pid_t child = fork();
  if (child == 0) Child(arguments, options, pipes);
  close(pipes[0][0]);
  close(pipes[1][1]);
  close(pipes[2][1]);
  Conversation conversation(child, options, pipes[0][1], pipes[1][0], pipes[2][0]);
  conversation.Run(&run);
  int status = 0;
  waitpid(child, &status, 0);
  if (!conversation.timed_out()) {
    run.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  // Whatever the child started is in its process group.
  run.processes_left = kill(-child, 0) == 0 ? 1 : 0;
  if (run.processes_left != 0) kill(-child, SIGKILL);
  return run;
}

std::vector<std::string> SplitLines(const std::string& text) {
  return absl::StrSplit(text, '\n', absl::SkipEmpty());
}

}  // namespace stasis
