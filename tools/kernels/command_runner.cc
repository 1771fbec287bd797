#include "tools/kernels/command_runner.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <map>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

extern char** environ;

namespace stasis {
namespace {

constexpr size_t kErrorOutputLimit = 64 << 10;

// Debian's package of a program that a plain system may lack.
std::string Package(const std::string& program) {
  static const auto* const kPackages = new std::map<std::string, std::string>{
      {"apt-get", "apt"},      {"apt-cache", "apt"}, {"apt-config", "apt"},
      {"dpkg-deb", "dpkg"},    {"depmod", "kmod"},   {"make", "make"},
      {"objcopy", "binutils"}, {"tar", "tar"},       {"cp", "coreutils"},
  };
  const auto it = kPackages->find(program);
  return it == kPackages->end() ? "" : it->second;
}

// One pipe end of the child: what came, cut into lines.
class Stream {
 public:
  explicit Stream(int fd) : fd_(fd) {}
  int fd() const { return fd_; }

  // Reads once; false at the end of the stream.
  bool Read(std::string* all, const Command& command) {
    char buffer[16384];
    const ssize_t count = read(fd_, buffer, sizeof(buffer));
    if (count < 0 && errno == EINTR) return true;
    if (count <= 0) {
      if (!partial_.empty() && command.on_line) command.on_line(partial_);
      partial_.clear();
      return false;
    }
    all->append(buffer, count);
    partial_.append(buffer, count);
    size_t begin = 0;
    for (size_t end; (end = partial_.find('\n', begin)) != std::string::npos; begin = end + 1) {
      if (command.on_line) command.on_line(absl::string_view(partial_).substr(begin, end - begin));
    }
    partial_.erase(0, begin);
    return true;
  }

 private:
  int fd_;
  std::string partial_;
};

class RealCommandRunner : public CommandRunner {
 public:
  absl::StatusOr<CommandResult> Run(const Command& command) override;
};

// What the child does between fork and exec: async-signal-safe calls only.
[[noreturn]] void Exec(const Command& command, char** argv, char** environment, pid_t parent,
                       int out, int error, int failure) {
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (getppid() != parent) _exit(127);  // the parent died before prctl
  const int null = open("/dev/null", O_RDONLY);
  if (null < 0 || dup2(null, 0) < 0 || dup2(out, 1) < 0 || dup2(error, 2) < 0 ||
      (!command.working_directory.empty() && chdir(command.working_directory.c_str()) != 0)) {
    const int code = errno;
    if (write(failure, &code, sizeof(code)) < 0) _exit(126);
    _exit(127);
  }
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  execvpe(argv[0], argv, environment);
  const int code = errno;
  if (write(failure, &code, sizeof(code)) < 0) _exit(126);
  _exit(127);
}

// Descriptors that are closed when the call ends.
struct Pipe {
  int ends[2] = {-1, -1};
  bool Open() { return pipe2(ends, O_CLOEXEC) == 0; }
  void CloseWriter() {
    if (ends[1] >= 0) close(ends[1]);
    ends[1] = -1;
  }
  ~Pipe() {
    CloseWriter();
    if (ends[0] >= 0) close(ends[0]);
  }
};

std::vector<std::string> Environment(const Command& command) {
  std::vector<std::string> result;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    bool replaced = false;
    for (const auto& [name, value] : command.environment) {
      replaced |= absl::StartsWith(*entry, absl::StrCat(name, "="));
    }
    if (!replaced) result.push_back(*entry);
  }
  for (const auto& [name, value] : command.environment) {
    result.push_back(absl::StrCat(name, "=", value));
  }
  return result;
}

std::vector<char*> Pointers(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (std::string& text : strings) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

void Collect(Pipe& out, Pipe& error, const Command& command, CommandResult* result) {
  Stream streams[2] = {Stream(out.ends[0]), Stream(error.ends[0])};
  std::string* texts[2] = {&result->output, &result->error_output};
  pollfd polls[2] = {{streams[0].fd(), POLLIN, 0}, {streams[1].fd(), POLLIN, 0}};
  while (polls[0].fd >= 0 || polls[1].fd >= 0) {
    if (poll(polls, 2, -1) < 0 && errno != EINTR) break;
    for (int i = 0; i < 2; ++i) {
      if (polls[i].fd < 0 || polls[i].revents == 0) continue;
      if (!streams[i].Read(texts[i], command)) polls[i].fd = -1;
    }
    if (result->error_output.size() > 2 * kErrorOutputLimit) {
      result->error_output.erase(0, result->error_output.size() - kErrorOutputLimit);
    }
  }
}

absl::StatusOr<CommandResult> RealCommandRunner::Run(const Command& command) {
  Pipe out, error, failure;
  if (!out.Open() || !error.Open() || !failure.Open()) return absl::ErrnoToStatus(errno, "pipe");
  std::vector<std::string> arguments = command.argv;
  std::vector<std::string> environment = Environment(command);
  const std::vector<char*> argv = Pointers(arguments);
  const std::vector<char*> envp = Pointers(environment);
  const pid_t parent = getpid();
  const pid_t child = fork();
  if (child < 0) return absl::ErrnoToStatus(errno, "fork");
  if (child == 0) {
    Exec(command, const_cast<char**>(argv.data()), const_cast<char**>(envp.data()), parent,
         out.ends[1], error.ends[1], failure.ends[1]);
  }
  out.CloseWriter();
  error.CloseWriter();
  failure.CloseWriter();
  CommandResult result;
  Collect(out, error, command, &result);
  int exec_errno = 0;
  const bool not_started = read(failure.ends[0], &exec_errno, sizeof(exec_errno)) > 0;
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (not_started) {
    const std::string package = Package(command.argv[0]);
    return absl::ErrnoToStatus(
        exec_errno, absl::StrCat("start ", command.argv[0],
                                 package.empty() ? "" : " (Debian package " + package + ")"));
  }
  result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return result;
}

}  // namespace

std::string CommandResult::Reason() const {
  std::string last;
  std::string telling;
  for (absl::string_view line : absl::StrSplit(error_output, '\n', absl::SkipWhitespace())) {
    last = std::string(line);
    if (absl::StartsWith(line, "E:") || absl::StrContains(line, "rror:") ||
        absl::StrContains(line, "***") || absl::StrContains(line, "No space left")) {
      if (telling.empty()) telling = last;
    }
  }
  if (telling.empty()) telling = last;
  return telling.empty() ? "it said nothing" : telling;
}

std::unique_ptr<CommandRunner> MakeCommandRunner() { return std::make_unique<RealCommandRunner>(); }

std::string CommandLine(const Command& command) { return absl::StrJoin(command.argv, " "); }

absl::StatusOr<CommandResult> RunOrFail(CommandRunner& runner, const Command& command,
                                        absl::string_view what) {
  auto result = runner.Run(command);
  if (!result.ok()) {
    return absl::Status(result.status().code(),
                        absl::StrCat(what, ": ", result.status().message()));
  }
  if (result->exit_code == 0) return result;
  const std::string message = absl::StrFormat("%s: %s failed (exit code %d): %s", what,
                                              command.argv[0], result->exit_code, result->Reason());
  if (absl::StrContains(result->error_output, "No space left on device") ||
      absl::StrContains(result->error_output, "enough free space")) {
    return absl::ResourceExhaustedError(message);
  }
  return absl::InternalError(message);
}

}  // namespace stasis
