#include "tools/bench/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <map>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

extern char** environ;

namespace stasis::bench {
namespace {

constexpr size_t kLastWords = 600;

int MillisecondsUntil(absl::Time deadline) {
  const int64_t left = absl::ToInt64Milliseconds(deadline - MonotonicNow());
  return static_cast<int>(std::clamp<int64_t>(left, 0, 1 << 30));
}

// Ours with `more` on top.
std::vector<std::string> MergedEnvironment(const std::vector<std::string>& more) {
  std::map<std::string, std::string> by_name;
  auto add = [&by_name](absl::string_view entry) {
    by_name[std::string(entry.substr(0, entry.find('=')))] = std::string(entry);
  };
  for (char** entry = environ; *entry != nullptr; ++entry) add(*entry);
  for (const std::string& entry : more) add(entry);
  std::vector<std::string> merged;
  for (auto& [name, entry] : by_name) merged.push_back(std::move(entry));
  return merged;
}

std::vector<char*> Pointers(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (const std::string& text : strings) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace

absl::Time MonotonicNow() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return absl::TimeFromTimespec(now);
}

void OwnedFd::Reset() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

absl::StatusOr<std::pair<OwnedFd, OwnedFd>> StreamPair() {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
    return absl::ErrnoToStatus(errno, "socketpair");
  }
  return std::make_pair(OwnedFd(pair[0]), OwnedFd(pair[1]));
}

absl::StatusOr<std::unique_ptr<Child>> Child::Start(const Options& options) {
  std::unique_ptr<Child> child(new Child());
  child->name_ = options.argv[0].substr(options.argv[0].rfind('/') + 1);
  child->errors_ = OwnedFd(memfd_create("bench-stderr", MFD_CLOEXEC));
  if (child->errors_.get() < 0) return absl::ErrnoToStatus(errno, "memfd_create");
  const std::vector<std::string> environment = MergedEnvironment(options.environment);

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  if (options.input < 0) {
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  } else {
    posix_spawn_file_actions_adddup2(&actions, options.input, 0);
  }
  posix_spawn_file_actions_adddup2(&actions, child->errors_.get(), 2);
  posix_spawn_file_actions_adddup2(&actions, options.output < 0 ? 2 : options.output, 1);
  if (options.extra >= 0) posix_spawn_file_actions_adddup2(&actions, options.extra, 3);
  child->started_ = MonotonicNow();
  const int error = posix_spawn(&child->pid_, options.argv[0].c_str(), &actions, nullptr,
                                Pointers(options.argv).data(), Pointers(environment).data());
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return absl::ErrnoToStatus(error, absl::StrCat("start ", options.argv[0]));
  child->pidfd_ = OwnedFd(static_cast<int>(syscall(SYS_pidfd_open, child->pid_, 0)));
  if (child->pidfd_.get() < 0) return absl::ErrnoToStatus(errno, "pidfd_open");
  return child;
}

Child::~Child() {
  if (pid_ < 0) return;
  kill(pid_, SIGKILL);
  while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

absl::StatusOr<std::string> Child::Read(int fd, absl::Time deadline) {
  for (;;) {
    pollfd ready[2] = {{fd, POLLIN, 0}, {pidfd_.get(), POLLIN, 0}};
    const int count = poll(ready, 2, MillisecondsUntil(deadline));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return Failed(absl::StatusCode::kDeadlineExceeded, "said nothing in time");
    if (ready[0].revents != 0) {
      char bytes[16384];
      const ssize_t got = read(fd, bytes, sizeof(bytes));
      if (got > 0) return std::string(bytes, static_cast<size_t>(got));
      if (got < 0 && errno == EINTR) continue;
    }
    return Failed(absl::StatusCode::kAborted, "ended before its guest was up");
  }
}

absl::Status Child::Join(absl::Time deadline) {
  pollfd ready = {pidfd_.get(), POLLIN, 0};
  int count = 0;
  while ((count = poll(&ready, 1, MillisecondsUntil(deadline))) < 0 && errno == EINTR) {
  }
  if (count <= 0) return Failed(absl::StatusCode::kDeadlineExceeded, "did not end in time");
  int status = 0;
  while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return absl::OkStatus();
  return Failed(absl::StatusCode::kAborted,
                WIFEXITED(status) ? absl::StrCat("ended with exit code ", WEXITSTATUS(status))
                                  : absl::StrCat("was ended by signal ", WTERMSIG(status)));
}

std::string Child::LastWords() const {
  const off_t size = lseek(errors_.get(), 0, SEEK_END);
  std::string tail(kLastWords, '\0');
  const off_t from = std::max<off_t>(0, size - static_cast<off_t>(kLastWords));
  const ssize_t got = pread(errors_.get(), tail.data(), tail.size(), from);
  tail.resize(got > 0 ? static_cast<size_t>(got) : 0);
  absl::StripAsciiWhitespace(&tail);
  return tail;
}

absl::Status Child::Failed(absl::StatusCode code, const std::string& what) const {
  const std::string words = LastWords();
  return absl::Status(code, absl::StrCat(name_, " ", what,
                                         words.empty() ? "" : absl::StrCat("; it said: ", words)));
}

}  // namespace stasis::bench
