// QueueWorker: the place of one queue's worker thread, filled from DRIVER_OK to reset.
#ifndef STASIS_DEVICES_BLOCK_QUEUE_WORKER_H_
#define STASIS_DEVICES_BLOCK_QUEUE_WORKER_H_

#include <pthread.h>

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "devices/block/disk_context.h"
#include "devices/block/request.h"
#include "devices/block/worker_control.h"
#include "devices/virtio/virtio_device.h"
#include "vmm/device/device.h"

namespace stasis {

class QueueRun;

// Lives as long as the device. Start, RequestStop and Join are called by one thread at a time (the
// transport's lock); Freezable's members by the freeze coordinator, also while Join waits.
class QueueWorker : public Freezable {
 public:
  QueueWorker(std::shared_ptr<DiskContext> disk, std::string name)
      : disk_(std::move(disk)), name_(std::move(name)) {}
  // A thread that was given up is left to itself.
  ~QueueWorker() override;

  // Error: what could not be had (rule R6); there is no thread then. With a pause under way the
  // thread starts parked.
  absl::Status Start(const ActiveQueue& queue, const BlockLimits& limits,
                     std::shared_ptr<DriverSignals> signals);
  // First of all workers, then Join each: they stop side by side. Takes a pause back (R8, P4).
  void RequestStop();
  // False: not stopped by `deadline` and given up; true as well when there was no thread. Called
  // again for one that was given up, it says at once whether that has ended since (rule R3).
  bool Join(std::chrono::steady_clock::time_point deadline);

  // A thread serves the queue.
  bool live() const;
  // "uring", "sync", or "" without a thread.
  std::string engine() const;

  // Freezable. Without a live worker a pause succeeds at once (rule P3).
  std::string name() const override { return name_; }
  void SetOnParked(std::function<void()> on_parked) override;
  void RequestPause() override;
  bool IsParked() const override;
  void Resume() override;

 private:
  absl::Status StartThread(std::unique_ptr<QueueRun> run) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::shared_ptr<DiskContext> disk_;
  const std::string name_;

  mutable std::mutex mutex_;
  std::shared_ptr<WorkerControl> control_ ABSL_GUARDED_BY(mutex_);  // null: no thread
  bool abandoned_ ABSL_GUARDED_BY(mutex_) = false;
  std::function<void()> on_parked_ ABSL_GUARDED_BY(mutex_);
  bool pause_ ABSL_GUARDED_BY(mutex_) = false;  // between RequestPause and Resume
  std::string engine_ ABSL_GUARDED_BY(mutex_);
  pthread_t thread_ = {};  // joinable while control_ is set
};

}  // namespace stasis

#endif  // STASIS_DEVICES_BLOCK_QUEUE_WORKER_H_
