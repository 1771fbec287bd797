#include "devices/virtio/status_ladder.h"

#include "absl/strings/str_format.h"
#include "devices/virtio/features.h"

namespace stasis {
namespace {

constexpr uint32_t kKnownBits = kStatusAcknowledge | kStatusDriver | kStatusDriverOk |
                                kStatusFeaturesOk | kStatusNeedsReset | kStatusFailed;

// The one bit that may come next above `status`; 0 at the top.
uint32_t NextRung(uint32_t status) {
  for (uint32_t bit : {kStatusAcknowledge, kStatusDriver, kStatusFeaturesOk, kStatusDriverOk}) {
    if ((status & bit) == 0) return bit;
  }
  return 0;
}

}  // namespace

StatusLadder::Outcome StatusLadder::Write(uint32_t requested, const FeatureCheck& check_features) {
  Outcome outcome;
  for (int attempt = 0; attempt < kMaxAttempts; ++attempt) {
    const uint32_t snapshot = value();
    outcome = Validate(snapshot, requested, check_features);
    if (outcome.result != Result::kAdvanced) return outcome;
    if (Swap(snapshot, requested)) return outcome;
  }
  outcome.result = Result::kRefused;  // S7: give up rather than spin on a vCPU thread
  outcome.cause = "status-race";
  outcome.detail = absl::StrFormat("status %#x -> %#x (new bits %#x) lost %d races in a row",
                                   outcome.old_status, requested, outcome.new_bits, kMaxAttempts);
  return outcome;
}

StatusLadder::Outcome StatusLadder::Validate(uint32_t snapshot, uint32_t requested,
                                             const FeatureCheck& check_features) const {
  Outcome outcome{.old_status = snapshot, .new_bits = requested & ~snapshot};
  if (requested == snapshot) return outcome;  // S3
  auto refuse = [&](const char* cause, const std::string& why) {
    outcome.result = Result::kRefused;
    outcome.cause = cause;
    outcome.detail = absl::StrFormat("status %#x -> %#x (new bits %#x): %s", snapshot, requested,
                                     outcome.new_bits, why);
    return outcome;
  };
  if ((snapshot & kStatusNeedsReset) != 0) {  // S6: before S2, to blame the right party
    return refuse("status-needs-reset",
                  "the device was poisoned and set NEEDS_RESET; only a reset (0) is accepted");
  }
  if ((snapshot & ~requested) != 0) {  // S2
    return refuse("status-cleared-bits", "bits are cleared by writing 0 only");
  }
  if ((outcome.new_bits & ~kKnownBits) != 0) {  // S1
    return refuse("status-reserved-bits", "reserved bits");
  }
  if ((outcome.new_bits & kStatusNeedsReset) != 0) {  // S6
    return refuse("status-needs-reset-by-driver", "NEEDS_RESET is the device's to set");
  }
  if ((outcome.new_bits & (outcome.new_bits - 1)) != 0) {  // S1
    return refuse("status-multiple-bits", "one new bit at a time");
  }
  outcome.result = Result::kAdvanced;
  if (outcome.new_bits == kStatusFailed) return outcome;  // S5
  if ((snapshot & kStatusFailed) != 0) {                  // §2.1.1: reset before a new attempt
    return refuse("status-after-failed", "the driver gave up before (FAILED); reset first");
  }
  if (outcome.new_bits != NextRung(snapshot)) {  // S1
    return refuse("status-out-of-order",
                  absl::StrFormat("the next bit is %#x", NextRung(snapshot)));
  }
  if (outcome.new_bits == kStatusFeaturesOk) {  // S4
    const std::string why = check_features();
    if (!why.empty()) return refuse("features-refused", why);
  }
  return outcome;
}

bool StatusLadder::SetNeedsReset() {
  return (value_.fetch_or(kStatusNeedsReset, std::memory_order_acq_rel) & kStatusNeedsReset) == 0;
}

void StatusLadder::Clear(bool needs_reset) {
  value_.store(needs_reset ? kStatusNeedsReset : 0, std::memory_order_release);
}

bool StatusLadder::Swap(uint32_t expected, uint32_t desired) {
  return value_.compare_exchange_strong(expected, desired, std::memory_order_acq_rel);
}

}  // namespace stasis
