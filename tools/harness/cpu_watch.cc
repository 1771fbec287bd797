#include "tools/harness/cpu_watch.h"

#include <algorithm>

namespace stasis {
namespace {

// Of a second, running or waiting for a CPU of the host: a thread that is never idle.
constexpr absl::Duration kBusy = absl::Milliseconds(850);

}  // namespace

bool CpuWatch::Tick(const std::vector<ThreadSchedule>& threads) {
  busy_.resize(threads.size());
  looks_.resize(threads.size());
  for (size_t i = 0; i < threads.size() && i < last_.size(); ++i) {
    const absl::Duration used =
        threads[i].ran - last_[i].ran + threads[i].run_delay - last_[i].run_delay;
    busy_[i] = used >= kBusy ? busy_[i] + 1 : 0;
    if (busy_[i] == 0) looks_[i] = 0;
  }
  last_ = threads;
  const bool any =
      std::any_of(busy_.begin(), busy_.end(), [](int ticks) { return ticks >= kBusyTicks; });
  if (!any || ++since_look_ < kTicksPerLook) return false;
  since_look_ = 0;
  return true;
}

void CpuWatch::Look(const std::vector<VcpuSnapshot>& vcpus) {
  for (size_t i = 0; i < vcpus.size() && i < looks_.size(); ++i) {
    const bool off = vcpus[i].unavailable.empty() && vcpus[i].interrupts_off && !vcpus[i].waiting;
    looks_[i] = off && busy_[i] >= kBusyTicks ? looks_[i] + 1 : 0;
  }
}

std::optional<int> CpuWatch::Suspect(double share) const {
  const auto most = std::max_element(looks_.begin(), looks_.end());
  if (most == looks_.end()) return std::nullopt;
  const absl::Duration off = *most * kTicksPerLook * absl::Seconds(1);
  if (*most < kFewestLooks * share || off < limit_ * share) return std::nullopt;
  return static_cast<int>(most - looks_.begin());
}

}  // namespace stasis
