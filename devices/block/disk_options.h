// DiskOptions: what `--disk FILE[,option...]` says, and the disk made from it.
#ifndef STASIS_DEVICES_BLOCK_DISK_OPTIONS_H_
#define STASIS_DEVICES_BLOCK_DISK_OPTIONS_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "devices/block/backing_file.h"
#include "devices/block/engine.h"
#include "devices/block/io_transfer.h"
#include "devices/block/throttle.h"

namespace stasis {

// FILE[,ro][,direct][,iops=N][,bps=SIZE][,burst=TIME][,queues=N][,engine=uring|sync]
// [,bad=OFFSET+LENGTH], or
// scratch:SIZE in place of FILE. SIZE is bytes, or with K, M, G, T (powers of 1024). TIME
// ("500ms", "2s") says how much of the limits may be used at once after a quiet time; one second's
// worth unless said. What touches LENGTH bytes from OFFSET on (both SIZEs) fails with an I/O error,
// for testing what a guest does then. A comma in a file's name is written twice.
struct DiskOptions {
  std::string path;            // empty: a scratch disk
  uint64_t scratch_bytes = 0;  // of a scratch disk
  bool read_only = false;
  bool direct = false;
  ThrottleLimits limits;
  uint16_t queues = 0;  // 0: not said
  EngineKind engine = EngineKind::kUring;
  IoRange bad;  // length 0: none
};

// Touches no file. Error: InvalidArgument that names the option and says what is allowed.
absl::StatusOr<DiskOptions> ParseDiskOptions(absl::string_view text);

// Opens, or makes, what the options name. Errors: those of BackingFile.
absl::StatusOr<std::shared_ptr<BackingFile>> OpenDisk(const DiskOptions& options);

}  // namespace stasis

#endif  // STASIS_DEVICES_BLOCK_DISK_OPTIONS_H_
