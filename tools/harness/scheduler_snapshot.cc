#include "tools/harness/scheduler_snapshot.h"

#include <string>

#include "tools/inspect/cpu_stack.h"
#include "tools/inspect/scheduler_view.h"

namespace stasis {

absl::Status SchedulerSnapshot::Open(const GuestMemory& memory,
                                     const std::optional<dump::VmcoreInfoHint>& hint) {
  absl::StatusOr<dump::VmcoreInfo> info = dump::FindVmcoreInfo(memory, hint);
  if (!info.ok()) return info.status();
  auto image = std::make_unique<GuestMemoryImage>(&memory, info->text);
  absl::StatusOr<std::unique_ptr<Kernel>> kernel = Kernel::Open(image.get());
  if (!kernel.ok()) return kernel.status();
  image_ = std::move(image);
  kernel_ = *std::move(kernel);
  unwinder_ = std::make_unique<Unwinder>(&kernel_->memory(), &kernel_->symbols());
  return absl::OkStatus();
}

nlohmann::json SchedulerSnapshot::Take(const GuestMemory& memory,
                                       const std::optional<dump::VmcoreInfoHint>& hint,
                                       const std::vector<VcpuSnapshot>& vcpus) {
  if (kernel_ == nullptr) {
    if (absl::Status opened = Open(memory, hint); !opened.ok()) {
      return {{"unavailable", std::string(opened.message())}};
    }
  }
  nlohmann::json view = ToJson(ReadScheduler(*kernel_));
  nlohmann::json stacks = nlohmann::json::array();
  for (const VcpuSnapshot& vcpu : vcpus) {
    const nlohmann::json registers =
        nlohmann::json::parse(vcpu.registers_json, nullptr, /*allow_exceptions=*/false);
    nlohmann::json stack = StackJson(registers, *unwinder_, kernel_->symbols());
    stack["cpu"] = vcpu.index;
    stacks.push_back(std::move(stack));
  }
  view["stacks"] = std::move(stacks);
  return view;
}

}  // namespace stasis
