// KvmMsiRoutes: the I/O APIC's messages as KVM's interrupt routes.
#ifndef STASIS_VMM_X86_64_MSI_ROUTES_H_
#define STASIS_VMM_X86_64_MSI_ROUTES_H_

#include <cstdint>
#include <map>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "vmm/kvm/kvm.h"
#include "vmm/x86_64/ioapic.h"

namespace stasis {

// Any thread. `vm` outlives it.
class KvmMsiRoutes : public MsiRouter {
 public:
  explicit KvmMsiRoutes(kvm::Vm* vm) : vm_(vm) {}

  absl::Status SetRoute(uint32_t gsi, uint64_t address, uint32_t data, bool masked) override;
  absl::Status SendMessage(uint64_t address, uint32_t data) override;

 private:
  kvm::Vm* const vm_;
  absl::Mutex mutex_;
  std::map<uint32_t, kvm_irq_routing_entry> routes_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace stasis

#endif  // STASIS_VMM_X86_64_MSI_ROUTES_H_
