// Lane: where the machine runs, on this host's KVM or in an emulated host that has a real one.
#ifndef STASIS_TOOLS_HARNESS_LANE_H_
#define STASIS_TOOLS_HARNESS_LANE_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "vmm/x86_64/probe.h"

namespace stasis {

enum class Accel { kAuto, kKvm, kNested };

// "auto", "kvm", "nested". Error: InvalidArgument with the names there are.
absl::StatusOr<Accel> ParseAccel(absl::string_view name);

struct Lane {
  bool nested = false;
  std::string note;  // one line for the user, when the choice may surprise
};

// What the choice depends on, asked for only as far as needed.
struct LaneFacts {
  bool in_nested = false;                // this process runs inside the emulated host
  absl::StatusOr<KvmProbeResult> probe;  // of this host's KVM
  absl::Status nested_available;         // what the nested lane says it lacks
};

// kAuto takes KVM where it can run a stock kernel, else the nested lane. kKvm takes KVM in any case
// in which it can be opened. Inside the emulated host it is always KVM.
// Errors: Unavailable, saying what neither lane has.
absl::StatusOr<Lane> ChooseLane(Accel accel, const LaneFacts& facts);

// Probes this host and chooses.
absl::StatusOr<Lane> ChooseLane(Accel accel);

struct NestedCommand {
  std::vector<std::string> argv;  // of this process; argv[0] is replaced by its absolute path
  // Set inside, on top of this process's environment.
  std::vector<std::pair<std::string, std::string>> environment;
  std::vector<std::string> writable;  // existing directories whose changes come back
  absl::Duration time_limit = absl::InfiniteDuration();
  bool interactive = false;
};

// Runs this very program in the emulated host and returns its exit code. A hang of the emulated
// host is told on stderr and retried once; a guest that fails is not.
// Errors: those of RunNested.
absl::StatusOr<int> RunInNestedLane(const NestedCommand& command);

}  // namespace stasis

#endif  // STASIS_TOOLS_HARNESS_LANE_H_
