#include "devices/host_stream/host_stream.h"

#include <errno.h>
#include <fcntl.h>
#include <glog/logging.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

#include <utility>

#include "absl/strings/str_format.h"

namespace stasis {
namespace {

bool IsSocket(int fd) {
  struct stat info;
  return fd >= 0 && fstat(fd, &info) == 0 && S_ISSOCK(info.st_mode);
}

// writev without SIGPIPE: blocks the signal for this thread and takes back one that was raised.
ssize_t WritevQuietly(int fd, const iovec* iov, int count) {
  sigset_t pipe_set, old_set, pending;
  sigemptyset(&pipe_set);
  sigaddset(&pipe_set, SIGPIPE);
  sigpending(&pending);
  const bool was_pending = sigismember(&pending, SIGPIPE) == 1;
  pthread_sigmask(SIG_BLOCK, &pipe_set, &old_set);
  const ssize_t written = writev(fd, iov, count);
  const int error = errno;
  if (written < 0 && error == EPIPE && !was_pending) {
    const timespec at_once = {};
    sigtimedwait(&pipe_set, nullptr, &at_once);
  }
  pthread_sigmask(SIG_SETMASK, &old_set, nullptr);
  errno = error;
  return written;
}

}  // namespace

absl::Status HostStream::Check(int fd) {
  if (fd == -1) return absl::OkStatus();
  struct stat info;
  const int flags = fcntl(fd, F_GETFL);
  if (flags < 0 || fstat(fd, &info) != 0) {
    return absl::InvalidArgumentError(absl::StrFormat("descriptor %d is not open", fd));
  }
  if ((flags & O_NONBLOCK) == 0 && !S_ISREG(info.st_mode)) {
    return absl::InvalidArgumentError(
        absl::StrFormat("descriptor %d would block the event loop; set O_NONBLOCK on it", fd));
  }
  return absl::OkStatus();
}

HostStream::HostStream(EventLoop* loop, int input_fd, int output_fd,
                       std::function<void()> on_readable, std::function<void()> on_writable)
    : loop_(loop),
      input_fd_(input_fd),
      output_fd_(output_fd),
      on_readable_(std::move(on_readable)),
      on_writable_(std::move(on_writable)),
      output_is_socket_(IsSocket(output_fd)),
      input_open_(input_fd >= 0),
      output_open_(output_fd >= 0) {
  registrations_[0].fd = input_fd;
  registrations_[1].fd = output_fd;
}

HostStream::~HostStream() {
  want_read_ = want_write_ = false;
  Update();
}

void HostStream::WantRead(bool want) {
  if (want_read_ == want) return;
  want_read_ = want;
  Update();
}

void HostStream::WantWrite(bool want) {
  if (want_write_ == want) return;
  want_write_ = want;
  Update();
}

void HostStream::Update() {
  const uint32_t in = want_read_ && input_open_ ? uint32_t{EPOLLIN} : 0;
  const uint32_t out = want_write_ && output_open_ ? uint32_t{EPOLLOUT} : 0;
  if (input_fd_ == output_fd_) {
    Register(registrations_[0], in | out);
  } else {
    Register(registrations_[0], in);
    Register(registrations_[1], out);
  }
}

void HostStream::Register(Registration& registration, uint32_t events) {
  const uint32_t old_events = std::exchange(registration.events, events);
  if (registration.fd < 0 || events == old_events) return;
  if (!registration.pollable) {
    if (events != 0) PostReady(registration.fd, events);
    return;
  }
  const int fd = registration.fd;
  absl::Status status;
  if (events == 0) {
    // Not just no events: a descriptor whose peer hung up would wake the loop for ever.
    loop_->Remove(fd);
  } else if (old_events == 0) {
    status = loop_->Add(fd, events, [this, fd](uint32_t ready) { OnEvents(fd, ready); });
    if (absl::IsPermissionDenied(status)) {  // EPERM: this kind of file cannot be polled
      registration.pollable = false;
      PostReady(fd, events);
      return;
    }
  } else {
    status = loop_->Modify(fd, events);
  }
  if (!status.ok()) {
    registration.events = 0;
    LOG(ERROR) << "character device: " << status.message();
  }
}

void HostStream::PostReady(int fd, uint32_t events) {
  loop_->Post([weak = std::weak_ptr<HostStream*>(self_), fd, events] {
    if (std::shared_ptr<HostStream*> self = weak.lock()) (*self)->OnEvents(fd, events);
  });
}

void HostStream::OnEvents(int fd, uint32_t events) {
  // An error or a hang-up shows in the read or write that follows.
  const bool trouble = (events & (EPOLLHUP | EPOLLERR)) != 0;
  if (fd == input_fd_ && want_read_ && (trouble || (events & EPOLLIN) != 0)) on_readable_();
  if (fd == output_fd_ && want_write_ && (trouble || (events & EPOLLOUT) != 0)) on_writable_();
}

HostStream::Result HostStream::Read(const iovec* iov, size_t count) {
  if (!input_open_) return {Outcome::kClosed};
  ssize_t got;
  do {
    got = readv(input_fd_, iov, static_cast<int>(count));
  } while (got < 0 && errno == EINTR);
  if (got > 0) return {Outcome::kMoved, static_cast<size_t>(got)};
  if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return {Outcome::kWouldBlock};
  input_open_ = false;  // end of file; EIO of a terminal whose other end is gone; anything worse
  Update();
  return {Outcome::kClosed};
}

HostStream::Result HostStream::Write(const iovec* iov, size_t count) {
  if (!output_open_) return {Outcome::kClosed};
  ssize_t put;
  do {
    if (output_is_socket_) {
      msghdr message = {};
      message.msg_iov = const_cast<iovec*>(iov);
      message.msg_iovlen = count;
      put = sendmsg(output_fd_, &message, MSG_NOSIGNAL);
    } else {
      put = WritevQuietly(output_fd_, iov, static_cast<int>(count));
    }
  } while (put < 0 && errno == EINTR);
  if (put >= 0) return {Outcome::kMoved, static_cast<size_t>(put)};
  if (errno == EAGAIN || errno == EWOULDBLOCK) return {Outcome::kWouldBlock};
  LOG_IF(WARNING, errno != EPIPE && errno != ECONNRESET && errno != EIO)
      << "character device: write to descriptor " << output_fd_ << ": " << strerror(errno)
      << "; its output is dropped from here on";
  output_open_ = false;
  Update();
  return {Outcome::kClosed};
}

}  // namespace stasis
