#include "devices/block/worker_control.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "vmm/freeze/kick.h"

namespace stasis {
namespace {

// A kick that arrives just before the system call that it is meant for is lost, so it is repeated.
constexpr std::chrono::milliseconds kKickPeriod{10};

}  // namespace

absl::StatusOr<std::shared_ptr<WorkerControl>> WorkerControl::Create() {
  FileDescriptor wake(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  FileDescriptor done(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake.valid() || !done.valid()) {
    return absl::ErrnoToStatus(errno, "eventfd; raise the limit on open files (ulimit -n)");
  }
  return std::shared_ptr<WorkerControl>(new WorkerControl(std::move(wake), std::move(done)));
}

void WorkerControl::Wake() { (void)eventfd_write(wake_.get(), 1); }

void WorkerControl::DrainWake() {
  eventfd_t count = 0;
  (void)eventfd_read(wake_.get(), &count);
}

void WorkerControl::RequestPause() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (stop_.load(std::memory_order_relaxed)) return;
    pause_.store(true, std::memory_order_release);
  }
  Wake();
  Kick();
}

void WorkerControl::Resume() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    pause_.store(false, std::memory_order_release);
    // Taken back here and not by the worker: a pause that follows at once must not see it.
    parked_.store(false, std::memory_order_release);
  }
  changed_.notify_all();
  Wake();
}

void WorkerControl::RequestStop() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    pause_.store(false, std::memory_order_release);
    parked_.store(false, std::memory_order_release);
    stop_.store(true, std::memory_order_release);
  }
  changed_.notify_all();
  Wake();
  Kick();
}

void WorkerControl::Kick() {
  // Under the lock: a thread id that is still set is not yet anybody else's.
  std::lock_guard<std::mutex> lock(mutex_);
  last_kick_ = std::chrono::steady_clock::now();
  if (thread_id_ != 0) KickThread(thread_id_);
}

void WorkerControl::KickAgain() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (std::chrono::steady_clock::now() - last_kick_ < kKickPeriod) return;
  }
  Kick();
}

bool WorkerControl::WaitUntilDone(std::chrono::steady_clock::time_point deadline) {
  while (true) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    const int timeout = std::clamp<int64_t>(left.count(), 0, kKickPeriod.count());
    pollfd done = {.fd = done_.get(), .events = POLLIN};
    if (poll(&done, 1, timeout) == 1) return true;
    if (left.count() <= 0) return false;
    Kick();
  }
}

void WorkerControl::Abandon() {
  {
    std::lock_guard<std::mutex> lock(guest_);
    abandoned_ = true;
  }
  Wake();
}

void WorkerControl::ThreadBegins() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    thread_id_ = syscall(SYS_gettid);
  }
  guest_.lock();
}

void WorkerControl::ThreadEnds() {
  guest_.unlock();
  {
    std::lock_guard<std::mutex> lock(mutex_);
    thread_id_ = 0;
  }
  (void)eventfd_write(done_.get(), 1);
}

void WorkerControl::Park() {
  guest_.unlock();
  {
    std::unique_lock<std::mutex> lock(mutex_);
    while (pause_.load(std::memory_order_relaxed)) {
      if (!parked_.exchange(true, std::memory_order_acq_rel) && on_parked_) on_parked_();
      changed_.wait(lock);
    }
  }
  guest_.lock();
}

}  // namespace stasis
