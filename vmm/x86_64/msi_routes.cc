#include "vmm/x86_64/msi_routes.h"

#include <vector>

namespace stasis {

absl::Status KvmMsiRoutes::SetRoute(uint32_t gsi, uint64_t address, uint32_t data, bool masked) {
  absl::MutexLock lock(&mutex_);
  if (masked) {
    if (routes_.erase(gsi) == 0) return absl::OkStatus();
  } else {
    kvm_irq_routing_entry entry = {.gsi = gsi, .type = KVM_IRQ_ROUTING_MSI};
    entry.u.msi.address_lo = static_cast<uint32_t>(address);
    entry.u.msi.address_hi = static_cast<uint32_t>(address >> 32);
    entry.u.msi.data = data;
    routes_[gsi] = entry;
  }
  std::vector<kvm_irq_routing_entry> table;
  for (const auto& [number, entry] : routes_) table.push_back(entry);
  return vm_->SetGsiRouting(table);
}

absl::Status KvmMsiRoutes::SendMessage(uint64_t address, uint32_t data) {
  return vm_->SignalMsi(address, data);
}

}  // namespace stasis
