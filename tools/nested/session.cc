#include "tools/nested/session.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "absl/strings/str_cat.h"

namespace stasis::nested {
namespace {

using Kind = ControlMessage::Kind;

constexpr size_t kReadBytes = 64 * 1024;
// A pipe that polls writable takes this much without blocking (PIPE_BUF). The descriptors are
// shared with other processes, so they are not made non-blocking.
constexpr size_t kWriteBytes = 4096;
constexpr size_t kConsoleBytes = 16 * 1024;

bool Drained(const Stream& stream) { return stream.from() < 0 && !stream.wants_write(); }

bool WouldBlock() { return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR; }

}  // namespace

void Stream::OnReadable() {
  if (!wants_read()) return;
  buffer_.resize(kReadBytes);
  const ssize_t n = read(from_, buffer_.data(), buffer_.size());
  const int error = n < 0 ? errno : 0;
  buffer_.resize(n > 0 ? static_cast<size_t>(n) : 0);
  if (n > 0) {
    read_ += static_cast<uint64_t>(n);
    return;
  }
  errno = error;
  if (n == 0 || !WouldBlock()) from_ = -1;
}

void Stream::OnWritable() {
  if (buffer_.empty()) return;
  const size_t size = std::min(buffer_.size(), kWriteBytes);
  const ssize_t n = broken_ ? -1 : write(to_, buffer_.data(), size);
  if (n < 0 && !broken_ && WouldBlock()) return;
  const size_t done = n < 0 ? buffer_.size() : static_cast<size_t>(n);
  if (n < 0) broken_ = true;
  done_ += done;
  buffer_.erase(0, done);
}

Session::Session(const SessionFds& fds, const SessionLimits& limits, absl::Time start)
    : fds_(fds),
      limits_(limits),
      start_(start),
      in_(fds.stdin_fd, fds.in),
      out_(fds.out, fds.stdout_fd),
      err_(fds.err, fds.stderr_fd),
      last_life_(absl::Now()) {}

SessionReport Session::Run() {
  while (!ended_) Step();
  report_.bytes_in = in_.read_bytes();
  report_.bytes_out = out_.done_bytes() + err_.done_bytes();
  return report_;
}

void Session::Step() {
  Stream* const streams[] = {&in_, &out_, &err_};
  std::array<pollfd, 10> fds = {{{fds_.control, POLLIN, 0},
                                 {fds_.console, POLLIN, 0},
                                 {fds_.signals, POLLIN, 0},
                                 {process_ended_ ? -1 : fds_.ended, POLLIN, 0}}};
  for (size_t i = 0; i < 3; ++i) {
    fds[4 + 2 * i] = {streams[i]->wants_read() ? streams[i]->from() : -1, POLLIN, 0};
    fds[5 + 2 * i] = {streams[i]->wants_write() ? streams[i]->to() : -1, POLLOUT, 0};
  }
  // After the process's end one more round takes what is left in the sockets.
  const bool last_round = process_ended_ && !exit_known_;
  const absl::Duration wait = last_round
                                  ? absl::ZeroDuration()
                                  : std::max(NextDeadline() - absl::Now(), absl::ZeroDuration());
  const int64_t ms = absl::ToInt64Milliseconds(std::min(wait, kNudgePeriod)) + 1;
  if (poll(fds.data(), fds.size(), static_cast<int>(ms)) < 0 && errno != EINTR) {
    End(SessionEnd::kDied, absl::StrCat("poll: ", strerror(errno)));
    return;
  }
  if (fds[0].revents != 0) ReadControl();
  if (fds[1].revents != 0) ReadConsole();
  if (fds[2].revents != 0) ReadSignals();
  for (size_t i = 0; i < 3; ++i) {
    if (fds[4 + 2 * i].revents != 0) streams[i]->OnReadable();
    if (fds[5 + 2 * i].revents != 0) streams[i]->OnWritable();
  }
  AfterStreams();
  if (last_round && !exit_known_) End(SessionEnd::kDied, "the emulator ended by itself");
  if (fds[3].revents != 0) process_ended_ = true;
  Nudge(absl::Now());
  CheckLimits(absl::Now());
}

void Session::Nudge(absl::Time now) {
  if (!started_ || exit_known_ || now < next_nudge_) return;
  next_nudge_ = now + kNudgePeriod;
  Send({.kind = Kind::kNudge});
}

void Session::AfterStreams() {
  if (started_ && !stdin_ended_ && in_.from() < 0 && !in_.wants_write()) {
    stdin_ended_ = true;
    Send({.kind = Kind::kStdinEnd, .a = in_.done_bytes()});
  }
  if ((out_.broken() || err_.broken()) && !broken_told_) {
    broken_told_ = true;  // what a process that writes to nobody gets
    Send({.kind = Kind::kSignal, .code = SIGPIPE});
  }
  if (exit_known_ && out_.done_bytes() >= expected_out_ && err_.done_bytes() >= expected_err_) {
    End(SessionEnd::kExited, "");
  } else if (exit_known_ && process_ended_ && Drained(out_) && Drained(err_)) {
    End(SessionEnd::kDied, "the emulator ended before all output was passed on");
  }
}

void Session::ReadControl() {
  char bytes[4096];
  ssize_t n = 0;
  while ((n = recv(fds_.control, bytes, sizeof bytes, 0)) > 0) {
    lines_.Append({bytes, static_cast<size_t>(n)});
    while (const auto line = lines_.Next()) {
      if (const auto message = DecodeControl(*line)) Handle(*message);
    }
  }
  if (n == 0) poll(nullptr, 0, 10);  // closed: the process ends at any moment
}

void Session::ReadConsole() {
  char bytes[4096];
  ssize_t n = 0;
  while ((n = recv(fds_.console, bytes, sizeof bytes, 0)) > 0) {
    report_.console.append(bytes, static_cast<size_t>(n));
  }
  if (report_.console.size() > kConsoleBytes) {
    report_.console.erase(0, report_.console.size() - kConsoleBytes);
  }
}

void Session::Handle(const ControlMessage& message) {
  const absl::Time now = absl::Now();
  if (greeted_) report_.longest_silence = std::max(report_.longest_silence, now - last_life_);
  last_life_ = now;
  switch (message.kind) {
    case Kind::kHello:
      greeted_ = true;
      report_.host_kernel = message.text;
      break;
    case Kind::kBeat:
      report_.beats = message.a;
      break;
    case Kind::kStarted:
      started_ = true;
      report_.start_up = now - start_;
      next_nudge_ = now + kNudgePeriod;
      break;
    case Kind::kExit:
      exit_known_ = true;
      report_.exit_code = message.code;
      expected_out_ = message.a;
      expected_err_ = message.b;
      break;
    case Kind::kFailed:
      End(SessionEnd::kFailed, message.text);
      break;
    default:
      break;
  }
}

void Session::ReadSignals() {
  char signals[64];
  const ssize_t n = read(fds_.signals, signals, sizeof signals);
  for (ssize_t i = 0; i < n; ++i) OnSignal(signals[i]);
}

void Session::OnSignal(int signal) {
  if (signal == SIGWINCH) {
    SendWindow();
    return;
  }
  if (signal == SIGUSR1) {  // asks for something and ends nothing
    if (started_) Send({.kind = Kind::kSignal, .code = signal});
    return;
  }
  ending_signal_ = signal;
  if (++signals_seen_ > 1 || !started_) {
    report_.exit_code = 128 + signal;
    End(SessionEnd::kInterrupted, "interrupted");
    return;
  }
  Send({.kind = Kind::kSignal, .code = signal});
  if (signal == SIGTERM || signal == SIGHUP) {
    termination_deadline_ = absl::Now() + limits_.termination;
  }
}

void Session::SendWindow() {
  winsize size = {};
  for (int fd : {fds_.stdout_fd, fds_.stderr_fd, fds_.stdin_fd}) {
    if (fd >= 0 && ioctl(fd, TIOCGWINSZ, &size) == 0) {
      Send({.kind = Kind::kWindow, .a = size.ws_row, .b = size.ws_col});
      return;
    }
  }
}

absl::Time Session::NextDeadline() const {
  const absl::Duration patience = greeted_ ? limits_.silence : limits_.boot;
  // After the exit only our own reader is waited for, however slow.
  const absl::Time life = exit_known_ ? absl::InfiniteFuture() : last_life_ + patience;
  return std::min({life, start_ + limits_.time, termination_deadline_});
}

void Session::CheckLimits(absl::Time now) {
  if (ended_ || now < NextDeadline()) return;
  if (now >= termination_deadline_) {
    report_.exit_code = 128 + ending_signal_;
    End(SessionEnd::kInterrupted, "the program inside did not end in time");
  } else if (now >= start_ + limits_.time) {
    End(SessionEnd::kTimeLimit, absl::StrCat("time limit of ", absl::FormatDuration(limits_.time)));
  } else if (!greeted_) {
    End(SessionEnd::kHung,
        absl::StrCat("did not boot within ", absl::FormatDuration(limits_.boot)));
  } else {
    End(SessionEnd::kHung, absl::StrCat("no heartbeat for ", absl::FormatDuration(limits_.silence),
                                        " after beat ", report_.beats));
  }
}

void Session::Send(const ControlMessage& message) {
  // A few bytes to a socket whose buffer holds thousands of them; a full one means that init
  // stands still, which the heartbeat will tell.
  const std::string line = EncodeControl(message);
  (void)!send(fds_.control, line.data(), line.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
}

void Session::End(SessionEnd end, std::string reason) {
  if (ended_) return;
  ended_ = true;
  report_.end = end;
  report_.reason = std::move(reason);
}

}  // namespace stasis::nested
