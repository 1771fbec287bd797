// QueueRun: the loop of one worker thread, from DRIVER_OK to reset.
#ifndef STASIS_DEVICES_BLOCK_QUEUE_RUN_H_
#define STASIS_DEVICES_BLOCK_QUEUE_RUN_H_

#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "devices/block/disk_context.h"
#include "devices/block/engine.h"
#include "devices/block/request.h"
#include "devices/block/worker_control.h"
#include "devices/virtio/virtio_device.h"
#include "vmm/base/file_descriptor.h"

namespace stasis {

// Made on a vCPU's thread; all else happens on the worker's, which owns it. Requests are taken in
// the ring's order, and completed as the engine finishes them. Everything here that touches the
// guest runs with the control's guest lock held.
class QueueRun : private BlockingGate {
 public:
  // Errors: errno of epoll and timerfd; of the engine when not even the synchronous one works.
  static absl::StatusOr<std::unique_ptr<QueueRun>> Create(std::shared_ptr<DiskContext> disk,
                                                          std::shared_ptr<WorkerControl> control,
                                                          std::shared_ptr<DriverSignals> signals,
                                                          const ActiveQueue& queue,
                                                          const BlockLimits& limits);
  ~QueueRun() override;

  // The thread's body: returns after RequestStop or Abandon.
  void Run();

  absl::string_view engine_name() const { return engine_->name(); }

 private:
  // A request between Pop and Return. The engine knows the transfer in it.
  struct InFlight : IoTransfer {
    std::optional<DescriptorChain> chain;
    BlockRequest request;
  };

  QueueRun(std::shared_ptr<DiskContext> disk, std::shared_ptr<WorkerControl> control,
           std::shared_ptr<DriverSignals> signals, const ActiveQueue& queue,
           const BlockLimits& limits)
      : disk_(std::move(disk)),
        control_(std::move(control)),
        signals_(std::move(signals)),
        queue_(queue),
        limits_(limits) {}
  absl::Status Open();
  absl::Status Listen(int fd);
  absl::Status OpenEngine();

  // Takes requests from the ring. True if there may be more to take at once.
  bool Pass();
  // The next request into held_. False: none there.
  bool TakeNext();
  // Spends tokens for held_; false, and the timer set, when there are none.
  bool PassThrottle();
  void SubmitHeld();
  // Gives back what the engine finished, and shows it to the driver in one go (rule B8).
  void Harvest();
  void Complete(InFlight& request);
  void CountSuccess(const BlockRequest& request);
  void Return(DescriptorChain chain, const BlockRequest& request, uint8_t status);
  void Wait(bool poll_only);
  // The driver wants no more of this: what is in flight is called back.
  void Cancel();
  void AbandonAll();
  bool idle() const { return in_flight_ == 0; }

  // BlockingGate of the engine: the control's, with a place to park in the middle of a transfer.
  void Leave() override { control_->Leave(); }
  bool Enter() override { return control_->Enter(); }
  bool Checkpoint() override;

  const std::shared_ptr<DiskContext> disk_;
  const std::shared_ptr<WorkerControl> control_;
  const std::shared_ptr<DriverSignals> signals_;
  const ActiveQueue queue_;
  const BlockLimits limits_;

  FileDescriptor epoll_;
  FileDescriptor timer_;  // of the throttle
  std::vector<std::unique_ptr<InFlight>> slots_;
  std::vector<InFlight*> free_;
  InFlight* held_ = nullptr;  // taken from the ring, waits for tokens
  bool held_throttled_ = false;
  size_t in_flight_ = 0;      // with the engine
  bool engine_full_ = false;  // the last pass ended for want of room there
  bool more_ = true;  // the queue is to be looked at; the first pass needs no kick (rule R4)
  std::vector<IoTransfer*> finished_;
  std::unique_ptr<BlockEngine> engine_;  // goes first: it may know transfers
};

}  // namespace stasis

#endif  // STASIS_DEVICES_BLOCK_QUEUE_RUN_H_
