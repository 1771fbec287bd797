// ByteChannel: both directions of a descriptor on the event loop, with bounded memory.
#ifndef STASIS_TOOLS_HARNESS_BYTE_CHANNEL_H_
#define STASIS_TOOLS_HARNESS_BYTE_CHANNEL_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "vmm/event/event_loop.h"

namespace stasis {

// Lives on the loop's thread, which must outlive it. Descriptors that epoll does not take (regular
// files) are written at once and read by turns of the loop. The descriptor's O_NONBLOCK is not
// touched, since others may share the open file: a read or write follows readiness, and a write is
// at most kWriteSize bytes, for which a writable pipe, socket or terminal has
// room. A channel is not destroyed in its own callbacks.
class ByteChannel {
 public:
  static constexpr size_t kWriteSize = 1024;
  static constexpr size_t kReadSize = 16 * 1024;

  struct Callbacks {
    std::function<void(absl::string_view)> on_bytes;  // empty: the descriptor is only written
    std::function<void()> on_end;                     // end of file or error while reading, once
    std::function<void()> on_drained;                 // everything written was taken
  };

  // `owned`: closed with the channel.
  static absl::StatusOr<std::unique_ptr<ByteChannel>> Create(EventLoop* loop, int fd, bool owned,
                                                             Callbacks callbacks);
  ~ByteChannel();
  ByteChannel(const ByteChannel&) = delete;
  ByteChannel& operator=(const ByteChannel&) = delete;

  // Queues. After a write error (the reader is gone) everything is dropped.
  void Write(absl::string_view bytes);
  // Writes once, when the loop does not run: the descriptor must be ready.
  void WriteReady() {
    if (pending() > 0) WriteSome();
  }
  size_t pending() const { return pending_.size() - written_; }
  bool broken() const { return broken_; }

  // Stops and resumes calling on_bytes: the writer at the other end then waits.
  void SetReading(bool reading);
  bool reading() const { return reading_; }

 private:
  ByteChannel(EventLoop* loop, int fd, bool owned, Callbacks callbacks)
      : loop_(loop), fd_(fd), owned_(owned), callbacks_(std::move(callbacks)) {}
  uint32_t WantedEvents() const;
  void UpdateEvents();
  void HandleEvents(uint32_t events);
  void ReadSome();
  void WriteSome();
  void ScheduleFileRead();
  // True if a byte went out or the channel broke.
  bool WriteOnce(size_t most);

  EventLoop* const loop_;
  const int fd_;
  const bool owned_;
  const Callbacks callbacks_;
  bool pollable_ = true;
  bool registered_ = false;
  bool reading_ = true;
  bool ended_ = false;
  bool broken_ = false;
  std::string pending_;
  size_t written_ = 0;  // of pending_
  // Tells tasks posted to the loop that the channel is gone.
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace stasis

#endif  // STASIS_TOOLS_HARNESS_BYTE_CHANNEL_H_
