#include "devices/power/i8042.h"

namespace stasis {
namespace {

constexpr uint8_t kStatus = 0x01;  // OBF set, IBF clear

}  // namespace

void I8042::Read(uint64_t offset, absl::Span<uint8_t> data) {
  for (size_t i = 0; i < data.size(); ++i) {
    const uint64_t port = offset + i;
    data[i] = port == kI8042DataOffset ? 0 : port == kI8042CommandOffset ? kStatus : 0xff;
  }
}

void I8042::Write(uint64_t offset, absl::Span<const uint8_t> data) {
  if (offset > kI8042CommandOffset || kI8042CommandOffset - offset >= data.size()) return;
  if (data[kI8042CommandOffset - offset] == kI8042ResetCommand) on_event_(MachineEvent::kReset);
}

}  // namespace stasis
