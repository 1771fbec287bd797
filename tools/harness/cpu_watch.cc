#include "tools/harness/cpu_watch.h"

#include <algorithm>

namespace stasis {
namespace {

// Of a second, running or waiting for a CPU of the host: a thread that is never idle.
constexpr absl::Duration kBusy = absl::Milliseconds(850);

}  // namespace

std::vector<int> CpuWatch::Tick(const std::vector<ThreadSchedule>& threads) {
  busy_.resize(threads.size());
  looks_.resize(threads.size());
  for (size_t i = 0; i < threads.size() && i < last_.size(); ++i) {
    const absl::Duration used =
        threads[i].ran - last_[i].ran + threads[i].run_delay - last_[i].run_delay;
    busy_[i] = used >= kBusy ? busy_[i] + 1 : 0;
    if (busy_[i] == 0) looks_[i] = 0;
  }
  last_ = threads;
  std::vector<int> busy;
  for (size_t i = 0; i < busy_.size(); ++i) {
    if (busy_[i] >= kBusyTicks) busy.push_back(static_cast<int>(i));
  }
  if (busy.empty() || ++since_look_ < kTicksPerLook) return {};
  since_look_ = 0;
  return busy;
}

void CpuWatch::Look(int vcpu, const VcpuGlance& glance) {
  if (vcpu < 0 || static_cast<size_t>(vcpu) >= looks_.size()) return;
  const bool off = glance.interrupts_off && !glance.waiting;
  looks_[vcpu] = off && busy_[vcpu] >= kBusyTicks ? looks_[vcpu] + 1 : 0;
}

std::optional<int> CpuWatch::Suspect(double share) const {
  const auto most = std::max_element(looks_.begin(), looks_.end());
  if (most == looks_.end()) return std::nullopt;
  const absl::Duration off = *most * kTicksPerLook * absl::Seconds(1);
  if (*most < kFewestLooks * share || off < limit_ * share) return std::nullopt;
  return static_cast<int>(most - looks_.begin());
}

}  // namespace stasis
