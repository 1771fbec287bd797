#include "devices/virtio/driver_signals.h"

namespace stasis {

void DriverSignals::ConfigChanged() {
  BumpGeneration();
  if ((ladder_.value() & kStatusDriverOk) != 0) Raise(kInterruptConfigChanged);
}

void DriverSignals::NeedsReset(absl::string_view why) {
  poisonings_.fetch_add(1, std::memory_order_relaxed);
  refusals_.Report("needs-reset", why, /*error=*/true);
  if (!ladder_.SetNeedsReset()) return;
  if ((ladder_.value() & kStatusDriverOk) != 0) Raise(kInterruptConfigChanged);
}

bool DriverSignals::needs_reset() const { return (ladder_.value() & kStatusNeedsReset) != 0; }

void DriverSignals::Disconnect() {
  absl::MutexLock lock(&line_mutex_);
  line_ = nullptr;
}

void DriverSignals::Raise(uint32_t bit) {
  // The bit before the edge: the driver reads InterruptStatus as soon as the edge arrives.
  interrupts_.fetch_or(bit, std::memory_order_acq_rel);
  raised_.fetch_add(1, std::memory_order_relaxed);
  absl::MutexLock lock(&line_mutex_);
  if (line_ != nullptr) line_->Trigger();
}

}  // namespace stasis
