// WorkerControl: how other threads pause, stop, wake and give up one worker thread.
#ifndef STASIS_DEVICES_BLOCK_WORKER_CONTROL_H_
#define STASIS_DEVICES_BLOCK_WORKER_CONTROL_H_

#include <sys/types.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "devices/block/engine.h"
#include "vmm/base/file_descriptor.h"

namespace stasis {

// One for each life of a worker thread, shared with it.
//
// The worker holds the `guest` lock whenever it touches guest memory, queues or signals, and lets
// go of it around everything that can block. Whoever gives the worker up takes that lock, which
// comes soon, and can be sure from then on that the worker touches nothing of the guest.
class WorkerControl : public BlockingGate {
 public:
  // Error: errno of eventfd.
  static absl::StatusOr<std::shared_ptr<WorkerControl>> Create();

  // --- other threads ---
  // Is called on the worker's thread each time it has parked. Before the thread begins.
  void set_on_parked(std::function<void()> on_parked) { on_parked_ = std::move(on_parked); }
  void RequestPause();
  void Resume();
  // Takes a pause back (rule R8).
  void RequestStop();
  // Stored with release by the worker, read with acquire here (rule P2).
  bool parked() const { return parked_.load(std::memory_order_acquire); }
  // Wakes the worker out of a wait, or out of a system call with EINTR (rule P5).
  void Kick();
  // The same, unless there was a kick a moment ago. Signals of this kind queue up: who asks again
  // and again whether the worker stands still must not bury it under them.
  void KickAgain();
  // True once the thread is at its end; waits and kicks until `deadline` (rule R3).
  bool WaitUntilDone(std::chrono::steady_clock::time_point deadline);
  // After this returns the worker touches nothing of the guest, whenever it comes back.
  void Abandon();

  // --- the worker ---
  void ThreadBegins();  // takes the guest lock
  void ThreadEnds();    // gives it back
  bool must_stop() const { return stop_.load(std::memory_order_acquire) || abandoned_; }
  bool abandoned() const { return abandoned_; }
  bool pause_requested() const { return pause_.load(std::memory_order_acquire); }
  // Stands still, without the guest lock, until Resume or RequestStop.
  void Park();
  // Readable after RequestPause, Resume, RequestStop and Abandon.
  int wake_fd() const { return wake_.get(); }
  void DrainWake();

  // BlockingGate, without a checkpoint: that is the worker's.
  void Leave() override { guest_.unlock(); }
  bool Enter() override {
    guest_.lock();
    return !must_stop();
  }
  bool Checkpoint() override { return !must_stop(); }

 private:
  WorkerControl(FileDescriptor wake, FileDescriptor done)
      : wake_(std::move(wake)), done_(std::move(done)) {}
  void Wake();

  const FileDescriptor wake_;
  const FileDescriptor done_;

  std::mutex guest_;
  bool abandoned_ = false;  // written with guest_ held, read by the worker with guest_ held

  // Flags are written with mutex_ held, so that no wake-up is missed; read without it.
  std::mutex mutex_;
  std::condition_variable changed_;
  std::function<void()> on_parked_;
  std::atomic<bool> pause_{false};
  std::atomic<bool> stop_{false};
  std::atomic<bool> parked_{false};
  pid_t thread_id_ ABSL_GUARDED_BY(mutex_) = 0;  // 0: not begun, or at its end
  std::chrono::steady_clock::time_point last_kick_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace stasis

#endif  // STASIS_DEVICES_BLOCK_WORKER_CONTROL_H_
