// Command-line words that tell a kernel with CONFIG_VIRTIO_MMIO_CMDLINE_DEVICES where its
// virtio-mmio devices are.
#ifndef STASIS_VMM_X86_64_KERNEL_CMDLINE_H_
#define STASIS_VMM_X86_64_KERNEL_CMDLINE_H_

#include <string>

#include "absl/status/statusor.h"
#include "vmm/platform/device_tree.h"

namespace stasis {

// "virtio_mmio.device=4K@0xd0000000:16 virtio_mmio.device=..." in the order of the nodes; empty
// when there is none. Error: InvalidArgument (a device without an interrupt, a broken tree).
absl::StatusOr<std::string> VirtioMmioWords(const DeviceTree& tree);

}  // namespace stasis

#endif  // STASIS_VMM_X86_64_KERNEL_CMDLINE_H_
