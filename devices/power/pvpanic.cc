#include "devices/power/pvpanic.h"

#include <algorithm>

namespace stasis {

void PvPanic::Read(uint64_t /*offset*/, absl::Span<uint8_t> data) {
  std::fill(data.begin(), data.end(), 0);
  data[0] = kPvPanicPanicked | kPvPanicCrashLoaded;
}

void PvPanic::Write(uint64_t /*offset*/, absl::Span<const uint8_t> data) {
  if ((data[0] & kPvPanicPanicked) != 0) on_event_(MachineEvent::kPanic);
  if ((data[0] & kPvPanicCrashLoaded) != 0) on_event_(MachineEvent::kCrashLoaded);
}

}  // namespace stasis
