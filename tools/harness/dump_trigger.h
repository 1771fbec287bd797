// DumpTrigger: why a dump is written, and whether the end of a guest is such a reason.
#ifndef STASIS_TOOLS_HARNESS_DUMP_TRIGGER_H_
#define STASIS_TOOLS_HARNESS_DUMP_TRIGGER_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "tools/harness/guest_end.h"
#include "vmm/machine_snapshot.h"

namespace stasis {

enum class DumpWhen { kNever, kOnFail, kAlways };

// "never", "fail", "always". Error: InvalidArgument with the names there are.
absl::StatusOr<DumpWhen> ParseDumpWhen(absl::string_view name);

// Kinds and sources as docs/dump-format.md lists them.
struct DumpTrigger {
  std::string kind;    // "guest-panic"
  std::string source;  // "pvpanic"
  std::string message;
  int vcpu = -1;
};

// The trigger that the end of a guest is. `finding`: what JudgeGuestEnd made of it.
DumpTrigger TriggerOf(const GuestEndFacts& facts, const std::optional<Finding>& finding);

// Whether that end is to be dumped. A user's interruption is none, but for SIGQUIT.
bool WantsDump(DumpWhen when, const GuestEndFacts& facts, const std::optional<Finding>& finding);

// What the vCPUs of one incident were doing, from an early and a late snapshot: "all 2 CPUs spin
// with interrupts off: ..."; empty when they do not show that.
std::string DescribeSpinning(const std::vector<VcpuSnapshot>& early,
                             const std::vector<VcpuSnapshot>& late);

}  // namespace stasis

#endif  // STASIS_TOOLS_HARNESS_DUMP_TRIGGER_H_
