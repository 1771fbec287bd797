// HostStream: the host's end of a character device, as non-blocking descriptors on an event loop.
#ifndef STASIS_DEVICES_HOST_STREAM_HOST_STREAM_H_
#define STASIS_DEVICES_HOST_STREAM_HOST_STREAM_H_

#include <sys/uio.h>

#include <cstddef>
#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "vmm/event/event_loop.h"

namespace stasis {

// All members on the loop's thread, or before the loop runs. The descriptors stay the caller's and
// live as long as this; they may be the same one, or -1 for none: then there is never input, and
// output goes nowhere.
class HostStream {
 public:
  enum class Outcome { kMoved, kWouldBlock, kClosed };
  struct Result {
    Outcome outcome;
    size_t bytes = 0;
  };

  // InvalidArgument if `fd` is neither -1 nor an open descriptor with O_NONBLOCK (a regular file
  // may be without: it never blocks for long).
  static absl::Status Check(int fd);

  // The callbacks are called while the matching Want is on and the descriptor is ready.
  HostStream(EventLoop* loop, int input_fd, int output_fd, std::function<void()> on_readable,
             std::function<void()> on_writable);
  ~HostStream();
  HostStream(const HostStream&) = delete;
  HostStream& operator=(const HostStream&) = delete;

  void WantRead(bool want);
  void WantWrite(bool want);

  // One readv or writev. kClosed is final for that direction: end of file, or nobody reads any
  // more. Writing where there is no reader does not raise SIGPIPE.
  Result Read(const iovec* iov, size_t count);
  Result Write(const iovec* iov, size_t count);

  bool input_open() const { return input_open_; }
  bool output_open() const { return output_open_; }

 private:
  struct Registration {
    int fd = -1;
    uint32_t events = 0;
    bool pollable = true;  // epoll refuses regular files and /dev/null, which are always ready
  };

  void Update();
  void Register(Registration& registration, uint32_t events);
  void OnEvents(int fd, uint32_t events);
  void PostReady(int fd, uint32_t events);

  EventLoop* const loop_;
  const int input_fd_;
  const int output_fd_;
  const std::function<void()> on_readable_;
  const std::function<void()> on_writable_;
  const bool output_is_socket_;
  bool input_open_;
  bool output_open_;
  bool want_read_ = false;
  bool want_write_ = false;
  Registration registrations_[2];
  // Lets a posted task find out that this object is gone.
  std::shared_ptr<HostStream*> self_ = std::make_shared<HostStream*>(this);
};

}  // namespace stasis

#endif  // STASIS_DEVICES_HOST_STREAM_HOST_STREAM_H_
