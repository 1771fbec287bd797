// CpuWatch: finds a CPU that runs with interrupts off for good, while the others go on.
#ifndef STASIS_TOOLS_HARNESS_CPU_WATCH_H_
#define STASIS_TOOLS_HARNESS_CPU_WATCH_H_

#include <optional>
#include <vector>

#include "absl/time/time.h"
#include "tools/harness/host_noise.h"
#include "vmm/vcpu/vcpu_state.h"

namespace stasis {

// Asked once a second. Looking makes a vCPU leave the guest for a moment, so it is done only to one
// that was busy all the time for a while, and not each second. Pure.
class CpuWatch {
 public:
  // A CPU is hung when it had interrupts off at every look for `limit`.
  explicit CpuWatch(absl::Duration limit) : limit_(limit) {}

  // The vCPU threads' counters a second after the last ones. Returns the vCPUs to look at now.
  std::vector<int> Tick(const std::vector<ThreadSchedule>& threads);
  // What such a look has shown, before the next Tick.
  void Look(int vcpu, const VcpuGlance& glance);

  // The CPU that has had interrupts off longest, for more than `share` of the limit.
  std::optional<int> Suspect(double share) const;

 private:
  static constexpr int kBusyTicks = 5;  // before the first look
  static constexpr int kTicksPerLook = 3;
  static constexpr int kFewestLooks = 4;

  const absl::Duration limit_;
  std::vector<ThreadSchedule> last_;
  std::vector<int> busy_;   // ticks in a row, by vCPU
  std::vector<int> looks_;  // in a row with interrupts off
  int since_look_ = 0;
};

}  // namespace stasis

#endif  // STASIS_TOOLS_HARNESS_CPU_WATCH_H_
