// GuestSetup: from what the user asked for to everything that a session needs, all of it cached, so
// that the same request made inside the emulated host finds it done.
#ifndef STASIS_TOOLS_HARNESS_GUEST_SETUP_H_
#define STASIS_TOOLS_HARNESS_GUEST_SETUP_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "guest/scenario/scheduler_spec.h"
#include "tools/harness/guest_disks.h"
#include "tools/harness/progress.h"
#include "tools/harness/verdict.h"
#include "vmm/boot/discovery.h"
#include "vmm/boot/kernel_image.h"
#include "vmm/machine_config.h"

namespace stasis {

struct GuestRequest {
  std::string kernel;    // path, cached name or build tree; empty: the default
  std::string topology;  // "1n2l2c1t"; empty: one CPU
  std::vector<std::vector<uint32_t>> distances;  // between NUMA nodes; empty: the default ones
  std::string memory;    // "512M"; empty: 512M
  Discovery discovery = Discovery::kAuto;
  bool huge_pages = false;
  bool kaslr = false;  // the guest unpacks its kernel itself, and may move it
  DiskSettings disks;
  // Our initramfs (agent, modules) is made for the kernel. Without it `initrd` is taken as it is.
  bool agent = true;
  bool shell = false;                        // with busybox
  std::vector<std::string> include;          // host files
  std::vector<std::string> modules;          // of the kernel, besides the needed ones
  std::string initrd;                        // path; with the agent: one that was made before
  std::vector<std::string> required_config;  // of a scenario, without CONFIG_
  std::vector<std::string> warnings;         // for the report
  std::vector<SchedulerSpec> schedulers;     // are put in, with what they need to run
};

struct GuestSetup {
  MachineConfig machine;
  DiskSettings disks;
  KernelImage kernel;
  std::string kernel_path;
  DiscoveryChoice discovery;
  std::string initrd;                 // path, may be empty
  std::vector<std::string> scheduler_programs;  // of request.schedulers: paths, here and in the guest
  std::vector<std::string> warnings;  // one line each
};

// Errors as findings: usage (bad topology, memory, kernel name), error (no such kernel, missing
// options of the kernel, disk full), inconclusive (the kernel lacks `required_config`);
// those of FindSchedulerProgram.
struct GuestSetupResult {
  std::optional<GuestSetup> setup;
  Finding finding;  // when there is no setup
};
GuestSetupResult PrepareGuest(const GuestRequest& request, ProgressLine* progress);

// Topology and memory of the request alone: nothing is read from disk.
absl::StatusOr<MachineConfig> ParseMachine(const GuestRequest& request);

}  // namespace stasis

#endif  // STASIS_TOOLS_HARNESS_GUEST_SETUP_H_
