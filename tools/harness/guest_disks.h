// GuestDisks: the virtio disks of a guest, from the words of the command line to their counters.
#ifndef STASIS_TOOLS_HARNESS_GUEST_DISKS_H_
#define STASIS_TOOLS_HARNESS_GUEST_DISKS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "devices/block/disk_options.h"
#include "nlohmann/json.hpp"
#include "vmm/machine.h"

namespace stasis {

class VirtioMmioDevice;

struct DiskSettings {
  std::vector<DiskOptions> disks;  // /dev/vda, /dev/vdb, ... in the guest
  std::vector<int> io_cpus;        // host CPUs for the disks' workers; empty: any
};

// `disks`: one text each, as ParseDiskOptions takes it. `io_cpus`: "0-1,3", all of them CPUs that
// this process may use; "" for any. Touches no file. Error: InvalidArgument.
absl::StatusOr<DiskSettings> ParseDiskSettings(const std::vector<std::string>& disks,
                                               const std::string& io_cpus);

// A disk has a queue per vCPU, four at most, unless its options say how many. Error:
// InvalidArgument for more queues than vCPUs.
absl::Status CheckDiskQueues(const DiskSettings& settings, uint32_t cpus);

// Held until the guest has run elsewhere: the locks on the files, which the emulated host cannot
// take on this machine. Errors: those of BackingFile, so that they are told before it starts.
absl::StatusOr<std::vector<std::shared_ptr<BackingFile>>> HoldDisks(const DiskSettings& settings);

// Directories of the disks that the guest may write.
std::vector<std::string> WritableDiskDirectories(const DiskSettings& settings);

// Lives as long as the machine.
class GuestDisks {
 public:
  // Adds the disks to `machine`, before its LoadLinux. Errors: those of BackingFile, VirtioBlock
  // and CheckDiskQueues, each with the disk's path.
  static absl::StatusOr<GuestDisks> Add(Machine* machine, const DiskSettings& settings);

  // What each disk is and has done so far: the list `disks` of docs/result-json.md. Any thread.
  nlohmann::json Report() const;

 private:
  std::vector<VirtioMmioDevice*> disks_;  // the machine's
};

}  // namespace stasis

#endif  // STASIS_TOOLS_HARNESS_GUEST_DISKS_H_
