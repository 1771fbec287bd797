#include "tools/harness/run_set/child_pool.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"

extern char** environ;

namespace stasis {
namespace {

constexpr size_t kMostOutput = 4 << 20;
constexpr size_t kMostError = 256 << 10;
constexpr int kCannotExecute = 127;
constexpr absl::Duration kTick = absl::Seconds(1);

sigset_t Watched() {
  sigset_t set;
  sigemptyset(&set);
  for (int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1}) {
    struct sigaction action = {};
    sigaction(signal, nullptr, &action);
    // nohup and background shells ignore some signals; that stays so, here and in the children.
    if (action.sa_handler != SIG_IGN) sigaddset(&set, signal);
  }
  return set;
}

void CloseAndForget(int* fd) {
  if (*fd >= 0) close(*fd);
  *fd = -1;
}

void AppendTail(absl::string_view bytes, size_t most, std::string* text) {
  text->append(bytes.data(), bytes.size());
  if (text->size() > most) text->erase(0, text->size() - most);
}

void Show(int fd, absl::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t put = write(fd, bytes.data(), bytes.size());
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) return;  // whoever read it has gone
    bytes.remove_prefix(static_cast<size_t>(put));
  }
}

std::vector<std::string> MergedEnvironment(const ChildCommand& command) {
  std::map<std::string, std::string> merged;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const absl::string_view text(*entry);
    const size_t equals = text.find('=');
    if (equals == absl::string_view::npos) continue;
    merged[std::string(text.substr(0, equals))] = std::string(text.substr(equals + 1));
  }
  for (const auto& [name, value] : command.environment) {
    if (value.has_value()) {
      merged[name] = *value;
    } else {
      merged.erase(name);
    }
  }
  std::vector<std::string> entries;
  for (const auto& [name, value] : merged) entries.push_back(absl::StrCat(name, "=", value));
  return entries;
}

std::vector<char*> Pointers(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (const std::string& text : strings) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

// After fork: only what is safe there.
[[noreturn]] void BecomeChild(pid_t parent, char* const* argv, char* const* environment,
                              int output, int error) {
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (getppid() != parent) _exit(128 + SIGTERM);  // it died before the line above
  const int input = open("/dev/null", O_RDONLY);
  dup2(input, 0);
  dup2(output, 1);
  dup2(error, 2);
  signal(SIGPIPE, SIG_DFL);  // what is ignored stays ignored in the new program
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  execve(argv[0], argv, environment);
  const char* reason = strerrorname_np(errno);
  const char* program = argv[0];
  for (const char* part : {program, ": ", reason == nullptr ? "?" : reason, "\n"}) {
    [[maybe_unused]] ssize_t put = write(2, part, strlen(part));
  }
  _exit(kCannotExecute);
}

class Child {
 public:
  Child(size_t index, bool show) : index_(index), show_(show) {}
  ~Child() {
    CloseAndForget(&output_);
    CloseAndForget(&error_);
    CloseAndForget(&pidfd_);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  absl::Status Start(const ChildCommand& command) {
    result_.started = true;
    started_ = absl::Now();
    int output[2];
    int error[2];
    if (pipe2(output, O_CLOEXEC) != 0) return absl::ErrnoToStatus(errno, "pipe");
    output_ = output[0];
    if (pipe2(error, O_CLOEXEC) != 0) {
      close(output[1]);
      return absl::ErrnoToStatus(errno, "pipe");
    }
    error_ = error[0];
    const std::vector<std::string> environment = MergedEnvironment(command);
    const std::vector<char*> argv = Pointers(command.argv);
    const std::vector<char*> envp = Pointers(environment);
    const pid_t parent = getpid();
    pid_ = fork();
    if (pid_ == 0) BecomeChild(parent, argv.data(), envp.data(), output[1], error[1]);
    close(output[1]);
    close(error[1]);
    if (pid_ < 0) return absl::ErrnoToStatus(errno, "fork");
    setpgid(pid_, pid_);  // in both, so that a signal cannot come before it
    pidfd_ = static_cast<int>(syscall(SYS_pidfd_open, pid_, 0));
    if (pidfd_ < 0) {
      const int error_number = errno;
      Signal(SIGKILL);
      waitpid(pid_, nullptr, 0);
      return absl::ErrnoToStatus(error_number, "pidfd_open");
    }
    fcntl(output_, F_SETFL, O_NONBLOCK);
    fcntl(error_, F_SETFL, O_NONBLOCK);
    return absl::OkStatus();
  }

  // The group goes with it: an emulator it started, a helper.
  void Signal(int signal) const { kill(signal == SIGKILL ? -pid_ : pid_, signal); }

  void Poll(std::vector<pollfd>* fds) const {
    fds->push_back({output_, POLLIN, 0});
    fds->push_back({error_, POLLIN, 0});
    fds->push_back({pidfd_, POLLIN, 0});
  }

  void Take(const PoolCallbacks& callbacks) {
    Drain(&output_, [&](absl::string_view bytes) {
      if (show_) Show(STDOUT_FILENO, bytes);
      AppendTail(bytes, kMostOutput, &result_.output);
    });
    Drain(&error_, [&](absl::string_view bytes) {
      if (show_) Show(STDERR_FILENO, bytes);
      AppendTail(bytes, kMostError, &result_.error);
      if (!show_ && callbacks.on_error_line) TakeLines(bytes, callbacks);
    });
  }

  // True once; what it wrote before its end has been taken then.
  bool Ended(const PoolCallbacks& callbacks) {
    int status = 0;
    if (waitpid(pid_, &status, WNOHANG) != pid_) return false;
    Take(callbacks);
    result_.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    result_.wall = absl::Now() - started_;
    return true;
  }

  size_t index() const { return index_; }
  ChildResult& result() { return result_; }

 private:
  template <typename Taker>
  void Drain(int* fd, const Taker& taker) {
    char buffer[64 << 10];
    while (*fd >= 0) {
      const ssize_t got = read(*fd, buffer, sizeof(buffer));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0 && errno == EAGAIN) return;
      if (got <= 0) return CloseAndForget(fd);
      taker(absl::string_view(buffer, static_cast<size_t>(got)));
    }
  }

  void TakeLines(absl::string_view bytes, const PoolCallbacks& callbacks) {
    AppendTail(bytes, kMostError, &partial_);
    size_t from = 0;
    for (size_t end; (end = partial_.find('\n', from)) != std::string::npos; from = end + 1) {
      callbacks.on_error_line(index_, absl::string_view(partial_).substr(from, end - from));
    }
    partial_.erase(0, from);
  }

  const size_t index_;
  const bool show_;
  pid_t pid_ = -1;
  int output_ = -1;
  int error_ = -1;
  int pidfd_ = -1;
  std::string partial_;
  absl::Time started_;
  ChildResult result_;
};

// The signals as a descriptor, for as long as it lives.
class SignalWatch {
 public:
  SignalWatch() {
    const sigset_t watched = Watched();
    pthread_sigmask(SIG_BLOCK, &watched, &before_);
    fd_ = signalfd(-1, &watched, SFD_CLOEXEC | SFD_NONBLOCK);
  }
  ~SignalWatch() {
    CloseAndForget(&fd_);
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  SignalWatch(const SignalWatch&) = delete;
  SignalWatch& operator=(const SignalWatch&) = delete;

  int fd() const { return fd_; }
  // 0: none has come.
  int Next() {
    signalfd_siginfo info;
    return read(fd_, &info, sizeof(info)) == sizeof(info) ? static_cast<int>(info.ssi_signo) : 0;
  }

 private:
  sigset_t before_;
  int fd_ = -1;
};

class Pool {
 public:
  Pool(const std::vector<ChildCommand>& commands, uint32_t jobs, const PoolCallbacks& callbacks,
       absl::Duration patience)
      : commands_(commands),
        jobs_(std::max(1u, jobs)),
        callbacks_(callbacks),
        patience_(patience) {
    result_.children.resize(commands.size());
  }

  absl::StatusOr<PoolResult> Run() {
    if (signals_.fd() < 0) return absl::ErrnoToStatus(errno, "signalfd");
    signal(SIGPIPE, SIG_IGN);
    while (true) {
      StartWhatFits();
      if (running_.empty()) return std::move(result_);
      Wait();
      TakeSignals();
      Reap();
      if (absl::Now() >= kill_at_) {
        for (const auto& child : running_) child->Signal(SIGKILL);
        kill_at_ = absl::InfiniteFuture();
      }
      if (callbacks_.on_tick && absl::Now() >= next_tick_) {
        callbacks_.on_tick();
        next_tick_ = absl::Now() + kTick;
      }
    }
  }

 private:
  void StartWhatFits() {
    while (!result_.interrupted && running_.size() < jobs_ && next_ < commands_.size()) {
      auto child = std::make_unique<Child>(next_, commands_[next_].show);
      if (callbacks_.on_start) callbacks_.on_start(next_);
      absl::Status started = child->Start(commands_[next_]);
      ++next_;
      if (started.ok()) {
        running_.push_back(std::move(child));
        continue;
      }
      child->result().exit_code = kCannotExecute;
      child->result().error = std::string(started.message());
      End(child.get());
    }
  }

  void Wait() {
    std::vector<pollfd> fds = {{signals_.fd(), POLLIN, 0}};
    for (const auto& child : running_) child->Poll(&fds);
    poll(fds.data(), fds.size(), static_cast<int>(absl::ToInt64Milliseconds(kTick)));
  }

  void TakeSignals() {
    while (const int signal = signals_.Next()) {
      for (const auto& child : running_) child->Signal(signal);
      if (signal == SIGUSR1) continue;
      if (!result_.interrupted) kill_at_ = absl::Now() + patience_;
      result_.interrupted = true;
    }
  }

  void Reap() {
    for (auto child = running_.begin(); child != running_.end();) {
      (*child)->Take(callbacks_);
      if (!(*child)->Ended(callbacks_)) {
        ++child;
        continue;
      }
      End(child->get());
      child = running_.erase(child);
    }
  }

  void End(Child* child) {
    ChildResult& result = result_.children[child->index()];
    result = std::move(child->result());
    if (callbacks_.on_end) callbacks_.on_end(child->index(), result);
  }

  const std::vector<ChildCommand>& commands_;
  const uint32_t jobs_;
  const PoolCallbacks& callbacks_;
  const absl::Duration patience_;
  SignalWatch signals_;
  std::vector<std::unique_ptr<Child>> running_;
  size_t next_ = 0;
  absl::Time kill_at_ = absl::InfiniteFuture();
  absl::Time next_tick_ = absl::InfinitePast();
  PoolResult result_;
};

}  // namespace

absl::StatusOr<PoolResult> RunChildren(const std::vector<ChildCommand>& commands, uint32_t jobs,
                                       const PoolCallbacks& callbacks, absl::Duration patience) {
  return Pool(commands, jobs, callbacks, patience).Run();
}

}  // namespace stasis
