#include "tools/harness/scheduler_snapshot.h"

#include <string>

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
  return absl::OkStatus();
}

nlohmann::json SchedulerSnapshot::Take(const GuestMemory& memory,
                                       const std::optional<dump::VmcoreInfoHint>& hint) {
  if (kernel_ == nullptr) {
    if (absl::Status opened = Open(memory, hint); !opened.ok()) {
      return {{"unavailable", std::string(opened.message())}};
    }
  }
  return ToJson(ReadScheduler(*kernel_));
}

}  // namespace stasis
