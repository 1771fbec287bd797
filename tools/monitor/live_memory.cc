#include "tools/monitor/live_memory.h"

#include <atomic>
#include <cstdint>
#include <cstring>

namespace stasis {
namespace {

template <typename T>
T LoadRelaxed(uint8_t* from) {
  return std::atomic_ref<T>(*reinterpret_cast<T*>(from)).load(std::memory_order_relaxed);
}

}  // namespace

bool LiveMemoryImage::ReadPhysical(uint64_t address, void* to, size_t length) const {
  if (length == 0) return memory_->Contains(GuestAddress(address), 0);
  const absl::Span<uint8_t> from = memory_->Slice(GuestAddress(address), length);
  if (from.empty()) return false;
  auto* target = static_cast<uint8_t*>(to);
  uint8_t* at = from.data();
  uint8_t* const end = at + length;
  auto step = [&]<typename T>(T value) {
    memcpy(target, &value, sizeof(value));
    target += sizeof(value);
    at += sizeof(value);
  };
  while (at != end) {
    const auto where = reinterpret_cast<uintptr_t>(at);
    const auto left = static_cast<size_t>(end - at);
    if (where % 8 == 0 && left >= 8) {
      step(LoadRelaxed<uint64_t>(at));
    } else if (where % 4 == 0 && left >= 4) {
      step(LoadRelaxed<uint32_t>(at));
    } else if (where % 2 == 0 && left >= 2) {
      step(LoadRelaxed<uint16_t>(at));
    } else {
      step(LoadRelaxed<uint8_t>(at));
    }
  }
  return true;
}

}  // namespace stasis
