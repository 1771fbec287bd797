#include "tools/nested/init/relay.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <vector>

namespace stasis::nested {
namespace {

constexpr size_t kBufferBytes = 32 * 1024;  // what virtio_console takes in one write

bool WouldBlock() { return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR; }

class Relay {
 public:
  Relay(const Ports& ports, const Program& program, const Order& order)
      : ports_(ports),
        program_(program),
        in_(ports.in, program.in),
        out_(program.out, ports.out),
        err_(program.err, ports.err),
        // What the pty shows belongs to the stream that is a terminal outside.
        terminal_(program.terminal,
                  order.terminal[1] || !order.terminal[2] ? ports.out : ports.err) {
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGCHLD);
    children_ = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
    // Without a reader for it, standard input is taken and dropped by OnWritable.
  }
  ~Relay() { close(children_); }

  RelayResult Run() {
    Reap();
    while (!ended_ || !Drained()) Step();
    RelayResult result;
    result.exit_code = exit_code_;
    const Pump* const outputs[] = {&out_, &err_, &terminal_};
    for (const Pump* pump : outputs) {
      (pump->to() == ports_.out ? result.stdout_bytes : result.stderr_bytes) += pump->sent();
    }
    return result;
  }

 private:
  bool Drained() const {
    const Pump* const outputs[] = {&out_, &err_, &terminal_};
    for (const Pump* pump : outputs) {
      if (pump->open() || pump->wants_write()) return false;
    }
    return true;
  }

  void Step() {
    std::vector<pollfd> fds = {{ports_.control, POLLIN, 0}, {children_, POLLIN, 0}};
    Pump* const pumps[] = {&in_, &out_, &err_, &terminal_};
    for (Pump* pump : pumps) {
      fds.push_back({pump->wants_read() ? pump->from() : -1, POLLIN, 0});
      fds.push_back({pump->wants_write() ? pump->to() : -1, POLLOUT, 0});
    }
    if (poll(fds.data(), fds.size(), -1) < 0) return;
    if (fds[0].revents & POLLIN) ReadControl();
    if (fds[1].revents & POLLIN) Reap();
    for (size_t i = 0; i < 4; ++i) {
      if (fds[2 + 2 * i].revents != 0) pumps[i]->OnReadable();
      if (fds[3 + 2 * i].revents != 0) pumps[i]->OnWritable();
    }
    CloseStdinAtItsEnd();
  }

  void ReadControl() {
    char bytes[1024];
    const ssize_t n = read(ports_.control, bytes, sizeof bytes);
    if (n <= 0) return;
    lines_.Append({bytes, static_cast<size_t>(n)});
    while (const auto line = lines_.Next()) {
      if (const auto message = DecodeControl(*line)) Handle(*message);
    }
  }

  void Handle(const ControlMessage& message) {
    switch (message.kind) {
      case ControlMessage::Kind::kSignal:
        if (!ended_) kill(-program_.pid, message.code);
        break;
      case ControlMessage::Kind::kWindow: {
        const winsize size = {static_cast<uint16_t>(message.a), static_cast<uint16_t>(message.b), 0,
                              0};
        if (program_.terminal >= 0) ioctl(program_.terminal, TIOCSWINSZ, &size);
        break;
      }
      case ControlMessage::Kind::kStdinEnd:
        stdin_end_ = static_cast<int64_t>(message.a);
        break;
      default:
        break;
    }
  }

  // A pipe is closed; a terminal stays open, its end is a byte of its own.
  void CloseStdinAtItsEnd() {
    if (stdin_end_ < 0 || in_.sent() < static_cast<uint64_t>(stdin_end_)) return;
    in_.CloseFrom();
    if (program_.in >= 0 && program_.in != program_.terminal) close(program_.in);
    stdin_end_ = -1;
  }

  void Reap() {
    signalfd_siginfo info;
    while (read(children_, &info, sizeof info) > 0) {
    }
    int status = 0;
    pid_t pid = 0;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
      if (pid != program_.pid) continue;
      ended_ = true;
      exit_code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
      // Whoever still holds the program's output would keep us waiting for its end.
      kill(-1, SIGKILL);
    }
  }

  const Ports ports_;
  const Program program_;
  Pump in_, out_, err_, terminal_;
  int children_ = -1;
  LineReader lines_;
  int64_t stdin_end_ = -1;
  bool ended_ = false;
  int exit_code_ = 0;
};

}  // namespace

bool WriteAll(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = write(fd, bytes.data(), bytes.size());
    if (n > 0) {
      bytes.remove_prefix(static_cast<size_t>(n));
      continue;
    }
    if (n < 0 && !WouldBlock()) return false;
    pollfd ready = {fd, POLLOUT, 0};
    poll(&ready, 1, -1);
  }
  return true;
}

void Pump::OnReadable() {
  if (!wants_read()) return;
  char bytes[kBufferBytes];
  const ssize_t n = read(from_, bytes, sizeof bytes);
  if (n > 0) {
    buffer_.assign(bytes, static_cast<size_t>(n));
    taken_ += static_cast<uint64_t>(n);
    OnWritable();
  } else if (n == 0 || !WouldBlock()) {
    CloseFrom();  // a pty master says EIO when the last slave is closed
  }
}

void Pump::OnWritable() {
  if (buffer_.empty()) return;
  const ssize_t n = to_ < 0 ? -1 : write(to_, buffer_.data(), buffer_.size());
  if (n < 0 && to_ >= 0 && WouldBlock()) return;
  const size_t done = n < 0 ? buffer_.size() : static_cast<size_t>(n);
  if (n < 0) to_ = -1;  // nobody reads any more (EPIPE): the rest is dropped
  sent_ += done;
  buffer_.erase(0, done);
}

RelayResult RunRelay(const Ports& ports, const Program& program, const Order& order) {
  return Relay(ports, program, order).Run();
}

}  // namespace stasis::nested
