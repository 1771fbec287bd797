// ProbeKvm: finds out whether the host's KVM can run a stock Linux kernel, by running in a
// throw-away guest some instructions that such a kernel uses in ring 0.
#ifndef STASIS_VMM_X86_64_PROBE_H_
#define STASIS_VMM_X86_64_PROBE_H_

#include <string>

#include "absl/status/statusor.h"

namespace stasis {

struct KvmProbeResult {
  bool can_run_stock_kernel = false;
  // One clause that says why not: "cmpxchg16b in ring 0: KVM_EXIT_INTERNAL_ERROR: ...".
  std::string reason;
};

// Takes some milliseconds. Error: what Kvm::Open or the ioctls say (no device, no permission).
absl::StatusOr<KvmProbeResult> ProbeKvm();

}  // namespace stasis

#endif  // STASIS_VMM_X86_64_PROBE_H_
