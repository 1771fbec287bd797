// VirtioBlock: a virtio disk (virtio 1.2 §5.2), one worker thread per queue.
#ifndef STASIS_DEVICES_BLOCK_VIRTIO_BLOCK_H_
#define STASIS_DEVICES_BLOCK_VIRTIO_BLOCK_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "devices/block/backing_file.h"
#include "devices/block/block_counters.h"
#include "devices/block/block_protocol.h"
#include "devices/block/disk_context.h"
#include "devices/block/engine.h"
#include "devices/block/queue_worker.h"
#include "devices/block/throttle.h"
#include "devices/virtio/virtio_device.h"

namespace stasis {

// Requests are served on the workers' threads; the vCPU's thread sees configuration space, starts
// the workers at DRIVER_OK and stops them at a reset, within kStopLimit.
class VirtioBlock : public VirtioDevice {
 public:
  struct Options {
    std::string name = "virtio-blk0";
    std::string serial = "stasis";  // at most 20 bytes: /sys/block/vda/serial in the guest
    uint16_t queues = 1;            // 1 to kMaxQueues
    EngineKind engine = EngineKind::kUring;
    ThrottleLimits limits;
    std::vector<int> cpus;             // host CPUs for the workers; empty: any
    std::shared_ptr<IoFaults> faults;  // for tests
  };

  // Falls back to the synchronous engine, with one log line, when the host has no io_uring.
  // Installs the handler of the kick signal. Error: InvalidArgument that names the option.
  static absl::StatusOr<std::unique_ptr<VirtioBlock>> Create(Options options,
                                                             std::shared_ptr<BackingFile> file);
  ~VirtioBlock() override;

  // Any thread, no lock (rule B10).
  const BlockCounters& counters() const { return disk_->counters; }
  EngineKind engine() const { return disk_->engine; }
  const BackingFile& file() const { return *disk_->file; }

  // VirtioDevice
  uint32_t device_id() const override { return kVirtioBlockId; }
  uint64_t features() const override;
  std::vector<uint16_t> queue_max_sizes() const override;
  void ReadConfig(uint64_t offset, absl::Span<uint8_t> data) override;
  void WriteConfig(uint64_t offset, absl::Span<const uint8_t> data) override;
  void FeaturesNegotiated(uint64_t features) override;
  absl::Status Activate(Activation activation) override;
  absl::Status Reset() override;
  std::vector<Freezable*> Freezables() override;
  std::string DumpState() const override;

  static constexpr uint16_t kMaxQueues = 256;
  static constexpr std::chrono::seconds kStopLimit{1};  // rule R3

 private:
  VirtioBlock(Options options, std::shared_ptr<DiskContext> disk);

  // Stops all workers side by side. Error: the names of those that did not.
  absl::Status StopWorkers();

  const Options options_;
  const std::shared_ptr<DiskContext> disk_;
  BlockConfig config_;       // constant but for writeback, which is disk_->write_back
  uint64_t negotiated_ = 0;  // transport's lock
  std::vector<std::unique_ptr<QueueWorker>> workers_;  // constant, one per queue
};

}  // namespace stasis

#endif  // STASIS_DEVICES_BLOCK_VIRTIO_BLOCK_H_
