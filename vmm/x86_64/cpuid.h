// CPUID of one vCPU: what KVM supports, with topology, caches and frequencies of the machine that
// the user asked for.
#ifndef STASIS_VMM_X86_64_CPUID_H_
#define STASIS_VMM_X86_64_CPUID_H_

#include <linux/kvm.h>

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "vmm/topology/topology.h"

namespace stasis {

struct CpuidOptions {
  uint32_t tsc_khz = 0;            // KVM_GET_TSC_KHZ; 0: not known, no frequency leaves
  uint32_t lapic_hz = 1000000000;  // KVM's local APIC timer counts nanoseconds
  bool tsc_deadline = false;  // KVM_CAP_TSC_DEADLINE_TIMER: KVM_GET_SUPPORTED_CPUID never says it
};

// `supported` is KVM_GET_SUPPORTED_CPUID as it came. The result goes to KVM_SET_CPUID2 of vCPU
// `cpu`. Nothing is offered that `supported` does not have, but for topology and cache
// descriptions, which need no help of KVM. Errors: InvalidArgument (no leaf 0 or 1, cpu not in the
// topology).
absl::StatusOr<std::vector<kvm_cpuid_entry2>> BuildCpuid(
    absl::Span<const kvm_cpuid_entry2> supported, const Topology& topology, uint32_t cpu,
    const CpuidOptions& options);

}  // namespace stasis

#endif  // STASIS_VMM_X86_64_CPUID_H_
