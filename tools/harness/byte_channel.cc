#include "tools/harness/byte_channel.h"

#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

namespace stasis {

absl::StatusOr<std::unique_ptr<ByteChannel>> ByteChannel::Create(EventLoop* loop, int fd,
                                                                 bool owned, Callbacks callbacks) {
  std::unique_ptr<ByteChannel> channel(new ByteChannel(loop, fd, owned, std::move(callbacks)));
  channel->reading_ = channel->callbacks_.on_bytes != nullptr;
  ByteChannel* raw = channel.get();
  // Tried once, to learn whether epoll takes the descriptor.
  absl::Status added =
      loop->Add(fd, channel->WantedEvents(), [raw](uint32_t events) { raw->HandleEvents(events); });
  if (added.ok()) {
    channel->registered_ = true;
    channel->UpdateEvents();
  } else if (absl::IsPermissionDenied(added)) {  // EPERM: a regular file
    channel->pollable_ = false;
    channel->ScheduleFileRead();
  } else {
    return added;
  }
  return channel;
}

ByteChannel::~ByteChannel() {
  *alive_ = false;
  if (registered_) loop_->Remove(fd_);
  if (owned_) close(fd_);
}

uint32_t ByteChannel::WantedEvents() const {
  uint32_t events = 0;
  if (reading_ && !ended_) events |= EPOLLIN;
  if (pending() > 0 && !broken_) events |= EPOLLOUT;
  return events;
}

void ByteChannel::UpdateEvents() {
  if (!pollable_) return;
  const uint32_t events = WantedEvents();
  // Out of the set when nothing is wanted: a hang-up is reported whether asked for or not, and
  // would turn the loop in circles.
  if (events == 0) {
    if (registered_) loop_->Remove(fd_);
    registered_ = false;
  } else if (registered_) {
    loop_->Modify(fd_, events).IgnoreError();  // the descriptor is in the set: cannot fail
  } else {
    registered_ = loop_->Add(fd_, events, [this](uint32_t got) { HandleEvents(got); }).ok();
  }
}

void ByteChannel::HandleEvents(uint32_t events) {
  if (events & (EPOLLOUT | EPOLLERR | EPOLLHUP) && pending() > 0) WriteSome();
  if (events & (EPOLLIN | EPOLLHUP | EPOLLERR) && reading_ && !ended_) ReadSome();
  UpdateEvents();
}

void ByteChannel::ReadSome() {
  char buffer[kReadSize];
  const ssize_t got = read(fd_, buffer, sizeof(buffer));
  if (got > 0) {
    callbacks_.on_bytes(absl::string_view(buffer, got));
    return;
  }
  if (got < 0 && (errno == EINTR || errno == EAGAIN)) return;
  ended_ = true;
  if (callbacks_.on_end) callbacks_.on_end();
}

void ByteChannel::ScheduleFileRead() {
  if (!reading_ || ended_) return;
  loop_->Post([this, alive = alive_] {
    if (!*alive || !reading_ || ended_) return;
    ReadSome();
    ScheduleFileRead();
  });
}

void ByteChannel::Write(absl::string_view bytes) {
  if (broken_ || bytes.empty()) return;
  pending_.append(bytes.data(), bytes.size());
  if (pollable_) {
    UpdateEvents();
    return;
  }
  while (pending() > 0 && !broken_ && WriteOnce(pending())) {
  }
}

bool ByteChannel::WriteOnce(size_t most) {
  const ssize_t put = write(fd_, pending_.data() + written_, most);
  if (put > 0) {
    written_ += put;
    if (written_ == pending_.size()) {
      pending_.clear();
      written_ = 0;
    } else if (written_ > kReadSize && written_ > pending_.size() / 2) {
      pending_.erase(0, written_);
      written_ = 0;
    }
    return true;
  }
  if (put < 0 && errno == EINTR) return true;
  if (put < 0 && errno == EAGAIN) return false;
  broken_ = true;
  pending_.clear();
  written_ = 0;
  return true;
}

void ByteChannel::WriteSome() {
  WriteOnce(std::min(pending(), kWriteSize));
  if (pending() == 0 && callbacks_.on_drained) callbacks_.on_drained();
}

void ByteChannel::SetReading(bool reading) {
  if (reading_ == reading || !callbacks_.on_bytes) return;
  reading_ = reading;
  if (pollable_) {
    UpdateEvents();
  } else {
    ScheduleFileRead();
  }
}

}  // namespace stasis
