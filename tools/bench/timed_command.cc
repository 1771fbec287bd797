#include "tools/bench/timed_command.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "tools/bench/child.h"

extern char** environ;

namespace stasis::bench {

absl::StatusOr<TimedCommand> RunTimed(const std::vector<std::string>& argv) {
  int pipe_ends[2];
  if (pipe2(pipe_ends, O_CLOEXEC) != 0) return absl::ErrnoToStatus(errno, "pipe2");
  OwnedFd from(pipe_ends[0]), to(pipe_ends[1]);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  const absl::Cleanup destroy = [&] { posix_spawn_file_actions_destroy(&actions); };
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, to.get(), 1);
  std::vector<char*> arguments;
  for (const std::string& argument : argv) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);

  TimedCommand command;
  const absl::Time begun = MonotonicNow();
  pid_t pid = -1;
  if (const int error = posix_spawnp(&pid, arguments[0], &actions, nullptr, arguments.data(), environ);
      error != 0) {
    return absl::AbortedError(absl::StrCat("cannot start ", argv[0], ": ", strerror(error)));
  }
  to.Reset();
  char buffer[1 << 16];
  while (true) {
    const ssize_t count = read(from.get(), buffer, sizeof(buffer));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    command.output.append(buffer, static_cast<size_t>(count));
  }
  int status = 0;
  rusage use = {};
  while (wait4(pid, &status, 0, &use) < 0) {
    if (errno != EINTR) return absl::ErrnoToStatus(errno, "wait4");
  }
  command.wall = MonotonicNow() - begun;
  command.cpu = absl::DurationFromTimeval(use.ru_utime) + absl::DurationFromTimeval(use.ru_stime);
  command.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return command;
}

}  // namespace stasis::bench
