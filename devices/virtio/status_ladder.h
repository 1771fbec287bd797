// StatusLadder: the device status field and the order in which a driver may climb it (rules S1-S7).
#ifndef STASIS_DEVICES_VIRTIO_STATUS_LADDER_H_
#define STASIS_DEVICES_VIRTIO_STATUS_LADDER_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>

namespace stasis {

// Written by vCPU threads (one at a time: the transport holds its lock) and, for NEEDS_RESET alone,
// by any device thread without a lock. Invariant: NEEDS_RESET once set stays until Clear().
class StatusLadder {
 public:
  enum class Result { kAdvanced, kUnchanged, kRefused };
  struct Outcome {
    Result result = Result::kUnchanged;
    uint32_t old_status = 0;
    uint32_t new_bits = 0;   // requested and not set before
    const char* cause = "";  // of a refusal: fixed name for RefusalLog
    std::string detail;      // of a refusal
  };
  // Says why FEATURES_OK cannot be granted; empty when it can (rule S4).
  using FeatureCheck = std::function<std::string()>;

  virtual ~StatusLadder() = default;

  uint32_t value() const { return value_.load(std::memory_order_acquire); }

  // A driver's write of anything but 0 (a 0 is a reset, which is the transport's business).
  Outcome Write(uint32_t requested, const FeatureCheck& check_features);

  // From any thread. True if this call set it (rule S6).
  bool SetNeedsReset();

  // Back to the ground (rule R1, phase 3), or to NEEDS_RESET alone when the device could not stop
  // (rule R3).
  void Clear(bool needs_reset = false);

  static constexpr int kMaxAttempts = 4;  // rule S7

 protected:
  // One compare-and-swap; tests override it to lose the race on purpose.
  virtual bool Swap(uint32_t expected, uint32_t desired);

 private:
  Outcome Validate(uint32_t snapshot, uint32_t requested, const FeatureCheck& check) const;

  std::atomic<uint32_t> value_{0};
};

}  // namespace stasis

#endif  // STASIS_DEVICES_VIRTIO_STATUS_LADDER_H_
