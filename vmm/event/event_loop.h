// EventLoop: one thread's epoll loop for consoles, timers, signals and the agent.
#ifndef STASIS_VMM_EVENT_EVENT_LOOP_H_
#define STASIS_VMM_EVENT_EVENT_LOOP_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace stasis {

// Run() executes all callbacks on the calling thread. Add/Modify/Remove/timers may be called from
// callbacks or, before Run, from the owner's thread; Post and Stop from any thread.
class EventLoop {
 public:
  using FdCallback = std::function<void(uint32_t epoll_events)>;
  using TimerId = uint64_t;

  static absl::StatusOr<std::unique_ptr<EventLoop>> Create();
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  // Calls `callback` on the loop while `fd` has any of `events` (EPOLLIN, ...), level-triggered.
  // The descriptor stays the caller's. Error: errno of epoll_ctl with the descriptor's number.
  absl::Status Add(int fd, uint32_t events, FdCallback callback);
  absl::Status Modify(int fd, uint32_t events);
  // After Remove the callback is not called again, not even for events already fetched.
  void Remove(int fd);

  // Calls `callback` once after `delay`, or every `delay` when `repeat`.
  TimerId AddTimer(absl::Duration delay, std::function<void()> callback, bool repeat = false);
  void CancelTimer(TimerId id);

  // Runs `task` on the loop's thread soon. Tasks run in the order in which they were posted; those
  // posted after the loop has ended are dropped with it.
  void Post(std::function<void()> task);

  // Runs until Stop().
  void Run();
  void Stop();

  // One turn: tasks, timers, then descriptors that are ready within `timeout`. False after Stop().
  // Lets a test act as the loop's thread without starting one.
  bool RunOnce(absl::Duration timeout);

 private:
  struct Timer {
    absl::Time due;
    absl::Duration period;  // zero: once
    std::function<void()> callback;
  };

  EventLoop(int epoll_fd, int wake_fd) : epoll_fd_(epoll_fd), wake_fd_(wake_fd) {}
  int NextTimeoutMs() const;
  void RunTimers();
  void RunTasks();

  const int epoll_fd_;
  const int wake_fd_;  // eventfd: Post and Stop write it
  std::map<int, std::shared_ptr<FdCallback>> callbacks_;
  std::map<TimerId, Timer> timers_;
  TimerId next_timer_ = 1;

  absl::Mutex mutex_;
  std::vector<std::function<void()>> tasks_ ABSL_GUARDED_BY(mutex_);
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace stasis

#endif  // STASIS_VMM_EVENT_EVENT_LOOP_H_
