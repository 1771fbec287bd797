#include "tools/nested/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <atomic>

namespace stasis::nested {
namespace {

std::atomic<int> signal_write_fd{-1};  // relaxed: set before the handlers, cleared after them

void OnSignal(int signal) {
  const int saved_errno = errno;
  const char byte = static_cast<char>(signal);
  (void)!write(signal_write_fd.load(std::memory_order_relaxed), &byte, 1);
  errno = saved_errno;
}

}  // namespace

SignalPipe::SignalPipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) return;
  read_fd_ = ends[0];
  signal_write_fd.store(ends[1], std::memory_order_relaxed);
  for (int signal : {SIGINT, SIGTERM, SIGQUIT, SIGHUP, SIGWINCH, SIGUSR1, SIGPIPE}) {
    struct sigaction action = {};
    action.sa_handler = signal == SIGPIPE ? SIG_IGN : OnSignal;
    action.sa_flags = SA_RESTART;
    struct sigaction old = {};
    sigaction(signal, nullptr, &old);
    // nohup and background shells ignore some signals; that stays so.
    if (old.sa_handler == SIG_IGN) continue;
    sigaction(signal, &action, nullptr);
    saved_.emplace_back(signal, old);
  }
}

SignalPipe::~SignalPipe() {
  for (const auto& [signal, old] : saved_) sigaction(signal, &old, nullptr);
  const int write_fd = signal_write_fd.exchange(-1, std::memory_order_relaxed);
  if (write_fd >= 0) close(write_fd);
  if (read_fd_ >= 0) close(read_fd_);
}

RawTerminal::RawTerminal(int fd) : fd_(fd) {
  if (fd_ < 0 || tcgetattr(fd_, &saved_) != 0) {
    fd_ = -1;
    return;
  }
  termios raw = saved_;
  cfmakeraw(&raw);
  tcsetattr(fd_, TCSADRAIN, &raw);
}

RawTerminal::~RawTerminal() {
  if (fd_ >= 0) tcsetattr(fd_, TCSADRAIN, &saved_);
}

WindowSize WindowOf(int fd) {
  winsize size = {};
  if (fd < 0 || ioctl(fd, TIOCGWINSZ, &size) != 0) return {};
  return {size.ws_row, size.ws_col};
}

}  // namespace stasis::nested
