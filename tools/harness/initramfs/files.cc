#include "tools/harness/initramfs/files.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

extern char** environ;

namespace stasis {
namespace {

absl::Status ReadAll(int fd, const std::string& name, std::string* text) {
  char buffer[1 << 16];
  while (true) {
    const ssize_t got = read(fd, buffer, sizeof(buffer));
    if (got > 0) text->append(buffer, static_cast<size_t>(got));
    if (got == 0) return absl::OkStatus();
    if (got < 0 && errno != EINTR) return absl::ErrnoToStatus(errno, absl::StrCat("read ", name));
  }
}

// ": text", or "" of an empty file.
std::string FirstLine(int fd) {
  char text[1024];
  const ssize_t got = pread(fd, text, sizeof(text), 0);
  const absl::string_view all(text, got > 0 ? static_cast<size_t>(got) : 0);
  const absl::string_view line = all.substr(0, all.find('\n'));
  return line.empty() ? "" : absl::StrCat(": ", line);
}

}  // namespace

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return absl::ErrnoToStatus(errno, absl::StrCat("open ", path));
  absl::Cleanup close_fd = [fd] { close(fd); };
  std::string text;
  struct stat info;
  if (fstat(fd, &info) == 0 && S_ISREG(info.st_mode)) {
    text.reserve(static_cast<size_t>(info.st_size));
  }
  absl::Status status = ReadAll(fd, path, &text);
  if (!status.ok()) return status;
  return text;
}

absl::StatusOr<std::string> RunProgram(const std::vector<std::string>& argv) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return absl::ErrnoToStatus(errno, "pipe2");
  absl::Cleanup close_read = [&] { close(ends[0]); };
  // A file, so that nobody has to read it meanwhile.
  const int complaints = memfd_create("stderr", MFD_CLOEXEC);
  if (complaints < 0) return absl::ErrnoToStatus(errno, "memfd_create");
  absl::Cleanup close_complaints = [&] { close(complaints); };
  std::vector<char*> arguments;
  for (const std::string& argument : argv) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, complaints, STDERR_FILENO);
  pid_t pid;
  const int error = posix_spawn(&pid, arguments[0], &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  if (error != 0) return absl::ErrnoToStatus(error, absl::StrCat("start ", argv[0]));
  std::string output;
  absl::Status status = ReadAll(ends[0], argv[0], &output);
  int wait_status = 0;
  while (waitpid(pid, &wait_status, 0) < 0 && errno == EINTR) {
  }
  if (!status.ok()) return status;
  if (!WIFEXITED(wait_status) || WEXITSTATUS(wait_status) != 0) {
    return absl::FailedPreconditionError(absl::StrCat(argv[0], " failed", FirstLine(complaints)));
  }
  return output;
}

}  // namespace stasis
