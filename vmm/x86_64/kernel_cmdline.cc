#include "vmm/x86_64/kernel_cmdline.h"

#include "absl/strings/str_format.h"
#include "vmm/platform/machine_view.h"

namespace stasis {
namespace {

// drivers/virtio/virtio_mmio.c: <size>@<base>:<irq>, the size with K, M or G.
std::string Size(uint64_t bytes) {
  return bytes % 1024 == 0 ? absl::StrFormat("%dK", bytes / 1024) : absl::StrFormat("%d", bytes);
}

}  // namespace

absl::StatusOr<std::string> VirtioMmioWords(const DeviceTree& tree) {
  absl::StatusOr<MachineView> view = MachineView::FromTree(tree);
  if (!view.ok()) return view.status();
  std::string words;
  for (const DeviceInfo* device : view->Compatible("virtio,mmio")) {
    if (!device->gsi) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "command line: %s has no interrupt, which virtio_mmio.device= cannot say", device->path));
    }
    absl::StrAppendFormat(&words, "%svirtio_mmio.device=%s@%#x:%d", words.empty() ? "" : " ",
                          Size(device->size), device->base, *device->gsi);
  }
  return words;
}

}  // namespace stasis
