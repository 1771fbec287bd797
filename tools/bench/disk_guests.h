// fio in a guest with two disks, one boot at a time, in stasis or in QEMU's microvm machine.
#ifndef STASIS_TOOLS_BENCH_DISK_GUESTS_H_
#define STASIS_TOOLS_BENCH_DISK_GUESTS_H_

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "tools/bench/boots.h"

namespace stasis::bench {

struct DiskJob {
  const char* name;
  const char* rw;  // as fio calls it
  const char* block_size;
  int depth;
};
// 4 KiB jobs are counted in requests/s, jobs of 1 MiB in MiB/s: the same number of fio's.
inline constexpr DiskJob kDiskJobs[] = {
    {"randread-4k-1", "randread", "4k", 1},    {"randread-4k-32", "randread", "4k", 32},
    {"randwrite-4k-1", "randwrite", "4k", 1},  {"randwrite-4k-32", "randwrite", "4k", 32},
    {"read-1m", "read", "1m", 4},              {"write-1m", "write", "1m", 4},
};

// Raw images of kDiskBytes and kDiskBytes + kSecondDiskMore: the guest tells them apart by that.
inline constexpr uint64_t kDiskBytes = uint64_t{64} << 20;
inline constexpr uint64_t kSecondDiskMore = uint64_t{1} << 20;
struct DiskImages {
  std::string memory;  // on a tmpfs
  std::string disk;    // on a disk's file system
};

// Image ("memory", "disk") and job -> requests completed per second.
using DiskFigures = std::map<std::pair<std::string, std::string>, double>;

struct DiskGuestSpec {
  BootSpec boot;  // its initramfs has fio
  DiskImages images;
  int seconds = 2;  // for each job, after half a second that does not count
};

// Boots, runs all jobs on both images, ends. Errors: as for BootInStasis; Internal when fio said
// something else than its figures.
absl::StatusOr<DiskFigures> FioInStasis(const DiskGuestSpec& spec);
// `aio`: "io_uring" or "threads". Each disk has an I/O thread of its own.
absl::StatusOr<DiskFigures> FioInQemu(const DiskGuestSpec& spec, const std::string& aio);

// For /bin/sh in the guest; prints "IMAGE;" before each line of fio's terse format.
std::string FioScript(int seconds);

// Error: Internal for output in which a job of an image is missing.
absl::StatusOr<DiskFigures> ParseFioOutput(absl::string_view output);

}  // namespace stasis::bench

#endif  // STASIS_TOOLS_BENCH_DISK_GUESTS_H_
