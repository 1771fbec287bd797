// DriverSignals: everything that a device model tells its driver without being asked.
#ifndef STASIS_DEVICES_VIRTIO_DRIVER_SIGNALS_H_
#define STASIS_DEVICES_VIRTIO_DRIVER_SIGNALS_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "devices/virtio/features.h"
#include "devices/virtio/refusal_log.h"
#include "devices/virtio/status_ladder.h"
#include "vmm/device/device.h"

namespace stasis {

// Shared by the transport, the queues and the device's threads, all of which may call any member.
// It outlives the transport for a worker that had to be abandoned (rules R3, R9): after Disconnect
// such a worker reaches no interrupt line any more.
class DriverSignals {
 public:
  DriverSignals(const std::string& device, InterruptLine* line)
      : device_(device), refusals_(device), line_(line) {}

  // New entries in a used ring.
  void UsedBuffers() { Raise(kInterruptUsedBuffers); }
  // Configuration space has new content (rule T9). Interrupts only a driver that said DRIVER_OK.
  void ConfigChanged();
  // The device cannot go on (rules Q2, S6): sets the bit, interrupts, logs, counts.
  void NeedsReset(absl::string_view why);

  bool needs_reset() const;
  uint32_t config_generation() const { return generation_.load(std::memory_order_acquire); }
  uint32_t interrupt_status() const { return interrupts_.load(std::memory_order_acquire); }
  uint64_t interrupts_raised() const { return raised_.load(std::memory_order_relaxed); }
  uint64_t poisonings() const { return poisonings_.load(std::memory_order_relaxed); }

  RefusalLog& refusals() { return refusals_; }

  // The rest is the transport's.
  StatusLadder& ladder() { return ladder_; }
  void Acknowledge(uint32_t bits) {
    interrupts_.fetch_and(~bits, std::memory_order_acq_rel);
  }  // T8
  void BumpGeneration() { generation_.fetch_add(1, std::memory_order_acq_rel); }
  void ClearInterrupts() { interrupts_.store(0, std::memory_order_release); }
  void Disconnect();

 private:
  void Raise(uint32_t bit);

  const std::string device_;
  RefusalLog refusals_;
  StatusLadder ladder_;
  std::atomic<uint32_t> interrupts_{0};  // InterruptStatus
  std::atomic<uint32_t> generation_{0};  // ConfigGeneration
  std::atomic<uint64_t> raised_{0};
  std::atomic<uint64_t> poisonings_{0};
  absl::Mutex line_mutex_;
  InterruptLine* line_ ABSL_GUARDED_BY(line_mutex_);
};

}  // namespace stasis

#endif  // STASIS_DEVICES_VIRTIO_DRIVER_SIGNALS_H_
