// What the benchmarks that boot guests share: the program beside them, the machine that they run on,
// and the cache inside the emulated host.
#ifndef STASIS_TOOLS_BENCH_BENCH_LANE_H_
#define STASIS_TOOLS_BENCH_BENCH_LANE_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tools/harness/guest_setup.h"

namespace stasis::bench {

inline constexpr int kExitError = 3;
// Set inside the emulated host: the path of the initramfs that was made outside. stasis knows it too.
inline constexpr char kPreparedInitrd[] = "STASIS_PREPARED_INITRD";

// Says `status` on stderr. Returns kExitError.
int Fail(const absl::Status& status);

// The stasis binary beside us in the runfiles of 'bazel run', whose agent is ours from now on
// ($STASIS_AGENT). Error: NotFound.
absl::StatusOr<std::string> FindStasis();

double HostLoad();      // one-minute average; 0: not known
std::string HostCpu();  // its model's name

// Of what `command` prints; the command's name if it fails.
std::string FirstLineOf(const std::vector<std::string>& command);

// 'bazel run' starts us in the runfiles; a relative file name is meant from where the user is.
absl::Status EnterUserDirectory();

// The caches of this machine are read-only inside the emulated host, where files have other inode
// numbers, so that a kernel would be hashed by every run. One in `directory` with the same contents
// knows it after the first; $STASIS_CACHE names it from now on.
absl::Status MakeCacheInside(const std::string& directory);

// The guest of `request`, inside the emulated host with the initramfs that was made outside.
absl::StatusOr<GuestSetup> PrepareQuietly(GuestRequest request);

// Outside of any emulated host: runs this very program in one if this machine needs it, and returns
// its exit code. nullopt: it is to go on here. `environment` and `writable` as in NestedCommand.
absl::StatusOr<std::optional<int>> RunInsideIfNeeded(
    const std::string& accel, const std::vector<std::string>& argv,
    const std::vector<std::pair<std::string, std::string>>& environment,
    const std::vector<std::string>& writable);

}  // namespace stasis::bench

#endif  // STASIS_TOOLS_BENCH_BENCH_LANE_H_
