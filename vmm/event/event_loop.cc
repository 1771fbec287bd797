#include "vmm/event/event_loop.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_format.h"

namespace stasis {
namespace {

// Timers must not jump with the wall clock, so that absl::Now() will not do.
absl::Time MonotonicNow() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return absl::TimeFromTimespec(now);
}

}  // namespace

absl::StatusOr<std::unique_ptr<EventLoop>> EventLoop::Create() {
  const int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  if (epoll_fd < 0) return absl::ErrnoToStatus(errno, "epoll_create1");
  const int wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake_fd < 0) {
    const int error = errno;
    close(epoll_fd);
    return absl::ErrnoToStatus(error, "eventfd");
  }
  std::unique_ptr<EventLoop> loop(new EventLoop(epoll_fd, wake_fd));
  EventLoop* raw = loop.get();
  absl::Status status = loop->Add(wake_fd, EPOLLIN, [raw](uint32_t) {
    uint64_t count;
    [[maybe_unused]] ssize_t got = read(raw->wake_fd_, &count, sizeof(count));
  });
  if (!status.ok()) return status;
  return loop;
}

EventLoop::~EventLoop() {
  close(wake_fd_);
  close(epoll_fd_);
}

absl::Status EventLoop::Add(int fd, uint32_t events, FdCallback callback) {
  epoll_event event = {.events = events, .data = {.fd = fd}};
  if (epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, fd, &event) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrFormat("epoll_ctl add of descriptor %d", fd));
  }
  callbacks_[fd] = std::make_shared<FdCallback>(std::move(callback));
  return absl::OkStatus();
}

absl::Status EventLoop::Modify(int fd, uint32_t events) {
  epoll_event event = {.events = events, .data = {.fd = fd}};
  if (epoll_ctl(epoll_fd_, EPOLL_CTL_MOD, fd, &event) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrFormat("epoll_ctl modify of descriptor %d", fd));
  }
  return absl::OkStatus();
}

void EventLoop::Remove(int fd) {
  if (callbacks_.erase(fd) != 0) epoll_ctl(epoll_fd_, EPOLL_CTL_DEL, fd, nullptr);
}

EventLoop::TimerId EventLoop::AddTimer(absl::Duration delay, std::function<void()> callback,
                                       bool repeat) {
  const TimerId id = next_timer_++;
  timers_[id] = Timer{.due = MonotonicNow() + delay,
                      .period = repeat ? delay : absl::ZeroDuration(),
                      .callback = std::move(callback)};
  return id;
}

void EventLoop::CancelTimer(TimerId id) { timers_.erase(id); }

void EventLoop::Post(std::function<void()> task) {
  {
    absl::MutexLock lock(&mutex_);
    tasks_.push_back(std::move(task));
  }
  eventfd_write(wake_fd_, 1);
}

void EventLoop::Stop() {
  {
    absl::MutexLock lock(&mutex_);
    stopped_ = true;
  }
  eventfd_write(wake_fd_, 1);
}

int EventLoop::NextTimeoutMs() const {
  if (timers_.empty()) return -1;
  absl::Time first = absl::InfiniteFuture();
  for (const auto& [id, timer] : timers_) first = std::min(first, timer.due);
  const absl::Duration left = std::max(first - MonotonicNow(), absl::ZeroDuration());
  // Rounded up, so that the loop does not spin through the last millisecond.
  return static_cast<int>(std::min<int64_t>(
      absl::ToInt64Milliseconds(absl::Ceil(left, absl::Milliseconds(1))), int64_t{1} << 30));
}

void EventLoop::RunTimers() {
  const absl::Time now = MonotonicNow();
  std::vector<TimerId> due;
  for (const auto& [id, timer] : timers_) {
    if (timer.due <= now) due.push_back(id);
  }
  for (TimerId id : due) {
    auto it = timers_.find(id);  // an earlier callback may have cancelled it
    if (it == timers_.end()) continue;
    std::function<void()> callback = it->second.callback;
    if (it->second.period > absl::ZeroDuration()) {
      it->second.due = now + it->second.period;
    } else {
      timers_.erase(it);
    }
    callback();
  }
}

void EventLoop::RunTasks() {
  std::vector<std::function<void()>> tasks;
  {
    absl::MutexLock lock(&mutex_);
    tasks.swap(tasks_);
  }
  for (const std::function<void()>& task : tasks) task();
}

void EventLoop::Run() {
  while (RunOnce(absl::InfiniteDuration())) {
  }
}

bool EventLoop::RunOnce(absl::Duration timeout) {
  RunTasks();
  RunTimers();
  {
    absl::MutexLock lock(&mutex_);
    if (stopped_) return false;
  }
  int wait_ms = NextTimeoutMs();
  if (timeout != absl::InfiniteDuration()) {
    const int limit_ms = static_cast<int>(absl::ToInt64Milliseconds(timeout));
    wait_ms = wait_ms < 0 ? limit_ms : std::min(wait_ms, limit_ms);
  }
  epoll_event events[32];
  const int count = epoll_wait(epoll_fd_, events, std::size(events), wait_ms);
  for (int i = 0; i < count; ++i) {
    auto it = callbacks_.find(events[i].data.fd);
    if (it == callbacks_.end()) continue;
    std::shared_ptr<FdCallback> callback = it->second;  // outlives a Remove from inside
    (*callback)(events[i].events);
  }
  return true;
}

}  // namespace stasis
