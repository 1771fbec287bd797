// Discovery: in which way a guest kernel is told about its devices, chosen by its configuration.
#ifndef STASIS_VMM_BOOT_DISCOVERY_H_
#define STASIS_VMM_BOOT_DISCOVERY_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "vmm/boot/kernel_image.h"

namespace stasis {

// kAcpi: tables with LNRO0005 nodes. kCmdline: virtio_mmio.device= parameters. kFdt: the device
// tree itself in setup_data. kAuto is a request only, never a choice.
enum class Discovery { kAuto, kAcpi, kCmdline, kFdt };

// "auto", "acpi", "cmdline", "fdt".
const char* DiscoveryName(Discovery discovery);
// Error: InvalidArgument with the names there are.
absl::StatusOr<Discovery> ParseDiscovery(absl::string_view name);

// An option that the kernel does not have.
struct MissingOption {
  std::string option;    // "CONFIG_VIRTIO_MMIO"
  bool required = true;  // the machine cannot work without it; else a warning
  std::string purpose;   // "no virtio device is found without it"
};

struct DiscoveryChoice {
  Discovery discovery = Discovery::kAcpi;
  // One sentence: what was picked and why, and where the configuration was read.
  std::string reason;
  // Empty if the configuration is not known. Modules count as there.
  std::vector<MissingOption> missing;

  // One line with the required options that are missing, empty if there are none.
  std::string MissingRequired() const;
};

// Picks for kAuto: ACPI if the kernel has it (or if its configuration is not known: every
// distribution's kernel has it), else the command line, else the device tree. A way that was asked
// for is checked against the configuration.
// Error: FailedPrecondition naming the option that the kernel lacks.
absl::StatusOr<DiscoveryChoice> ChooseDiscovery(const KernelImage& image, Discovery requested);

// The same for a configuration alone; nullptr if it is not known.
absl::StatusOr<DiscoveryChoice> ChooseDiscovery(const KernelConfig* config, Discovery requested);

}  // namespace stasis

#endif  // STASIS_VMM_BOOT_DISCOVERY_H_
