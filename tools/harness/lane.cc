#include "tools/harness/lane.h"

#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "tools/nested/nested.h"

extern char** environ;

namespace stasis {
namespace {

// Inside, these would send the program on another way than the one that was prepared for it.
bool PassOn(absl::string_view name) {
  return name != "STASIS_ACCEL" && name != "STASIS_KVM_DEVICE";
}

// What failed and how, without the numbers, which 'stasis doctor' shows.
std::string Shortened(const std::string& reason) {
  const std::vector<std::string> parts = absl::StrSplit(reason, ": ");
  return parts.size() <= 2 ? reason : absl::StrCat(parts[0], ": ", parts[1]);
}

std::vector<std::pair<std::string, std::string>> Environment() {
  std::vector<std::pair<std::string, std::string>> environment;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const absl::string_view text(*entry);
    const size_t equals = text.find('=');
    if (equals == absl::string_view::npos) continue;
    const absl::string_view name = text.substr(0, equals);
    if (PassOn(name)) environment.emplace_back(name, text.substr(equals + 1));
  }
  return environment;
}

}  // namespace

absl::StatusOr<Accel> ParseAccel(absl::string_view name) {
  if (name == "auto") return Accel::kAuto;
  if (name == "kvm") return Accel::kKvm;
  if (name == "nested") return Accel::kNested;
  return absl::InvalidArgumentError(
      absl::StrFormat("accel '%s': expected auto, kvm or nested", name));
}

absl::StatusOr<Lane> ChooseLane(Accel accel, const LaneFacts& facts) {
  if (facts.in_nested) {
    if (!facts.probe.ok()) return facts.probe.status();
    return Lane{};
  }
  if (accel == Accel::kKvm) {
    if (!facts.probe.ok()) return facts.probe.status();
    if (facts.probe->can_run_stock_kernel) return Lane{};
    return Lane{false, absl::StrCat("warning: this host's KVM cannot run a stock kernel (",
                                    Shortened(facts.probe->reason), ")")};
  }
  if (accel == Accel::kAuto && facts.probe.ok() && facts.probe->can_run_stock_kernel) return Lane{};
  const std::string why = facts.probe.ok()
                              ? absl::StrCat("this host's KVM cannot run a stock kernel (",
                                             Shortened(facts.probe->reason), ")")
                              : std::string(facts.probe.status().message());
  if (!facts.nested_available.ok()) {
    if (accel == Accel::kNested) return facts.nested_available;
    return absl::UnavailableError(absl::StrCat(
        why, "; and the nested lane is not available: ", facts.nested_available.message()));
  }
  if (accel == Accel::kNested) return Lane{true, ""};
  return Lane{true, absl::StrCat(why, "; using the nested lane")};
}

absl::StatusOr<Lane> ChooseLane(Accel accel) {
  LaneFacts facts;
  facts.in_nested = InNested();
  // Inside the emulated host /dev/kvm was made for us; what it can is known.
  if (facts.in_nested) {
    facts.probe = KvmProbeResult{.can_run_stock_kernel = true};
  } else if (accel != Accel::kNested) {
    facts.probe = ProbeKvm();
  } else {
    facts.probe = KvmProbeResult{};
  }
  facts.nested_available =
      facts.in_nested || accel == Accel::kKvm ? absl::OkStatus() : CheckNested(NestedHost());
  return ChooseLane(accel, facts);
}

absl::StatusOr<int> RunInNestedLane(const NestedCommand& command) {
  char self[PATH_MAX];
  const ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);
  if (length < 0) return absl::ErrnoToStatus(errno, "readlink /proc/self/exe");
  self[length] = 0;

  NestedOptions options;
  options.argv = command.argv;
  options.argv[0] = self;
  options.env = Environment();
  options.env.insert(options.env.end(), command.environment.begin(), command.environment.end());
  options.writable = command.writable;
  options.time_limit = command.time_limit;
  options.interactive = command.interactive;
  options.retry_hang = true;
  absl::StatusOr<NestedResult> result = RunNested(options);
  if (!result.ok()) return result.status();
  if (result->hangs > 0) {
    fprintf(stderr, "stasis: the emulated host hung %d time(s) and was started again\n",
            result->hangs);
  }
  return result->exit_code;
}

}  // namespace stasis
