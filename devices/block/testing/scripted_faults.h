// ScriptedFaults: breaks, records or holds the system calls of a disk's engines, for tests.
#ifndef STASIS_DEVICES_BLOCK_TESTING_SCRIPTED_FAULTS_H_
#define STASIS_DEVICES_BLOCK_TESTING_SCRIPTED_FAULTS_H_

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "devices/block/engine.h"
#include "vmm/base/file_descriptor.h"

namespace stasis {

class ScriptedFaults : public IoFaults {
 public:
  enum class Hold {
    kNo,
    kInterruptible,    // waits as a slow device does; a signal ends the wait with EINTR
    kUninterruptible,  // waits whatever comes, as a dead NFS server makes one wait
  };

  // The next calls return these, in this order; nothing: the call is carried out.
  void Script(std::deque<std::optional<int64_t>> results) {
    std::lock_guard<std::mutex> lock(mutex_);
    script_ = std::move(results);
  }
  // Calls from now on, but for the first `let_through`, wait until Release (synchronous engine).
  void HoldCalls(Hold hold, int let_through = 0) {
    let_through_.store(let_through);
    hold_.store(hold);
  }
  void Release() {
    hold_.store(Hold::kNo);
    (void)eventfd_write(release_.get(), 1);
  }
  bool holding() const { return holding_.load(); }
  int interruptions() const { return interruptions_.load(); }

  std::vector<IoStep> TakeRecord() {
    std::lock_guard<std::mutex> lock(mutex_);
    return std::exchange(record_, {});
  }

  std::optional<int64_t> Intercept(IoStep& step) override {
    if (hold_.load() != Hold::kNo && let_through_.fetch_sub(1) <= 0) {
      holding_.store(true);
      const bool interrupted = !WaitForRelease();
      holding_.store(false);
      if (interrupted) return -EINTR;
    }
    std::lock_guard<std::mutex> lock(mutex_);
    record_.push_back(step);
    if (script_.empty()) return std::nullopt;
    const std::optional<int64_t> result = script_.front();
    script_.pop_front();
    return result;
  }

 private:
  // False: a signal came.
  bool WaitForRelease() {
    while (true) {
      pollfd release = {.fd = release_.get(), .events = POLLIN};
      if (poll(&release, 1, -1) == 1) return true;
      ++interruptions_;
      if (hold_.load() == Hold::kInterruptible) return false;
    }
  }

  const FileDescriptor release_{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  std::atomic<Hold> hold_{Hold::kNo};
  std::atomic<int> let_through_{0};
  std::atomic<bool> holding_{false};
  std::atomic<int> interruptions_{0};
  std::mutex mutex_;
  std::deque<std::optional<int64_t>> script_;
  std::vector<IoStep> record_;
};

}  // namespace stasis

#endif  // STASIS_DEVICES_BLOCK_TESTING_SCRIPTED_FAULTS_H_
