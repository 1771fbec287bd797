#include "tools/harness/dump_trigger.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace stasis {
namespace {

struct Name {
  const char* kind;
  const char* source;
};

Name NameOfMachineEnd(const GuestEndFacts& facts) {
  switch (facts.machine_end.kind) {
    case EndKind::kPanic:
      return {"guest-panic", "pvpanic"};
    case EndKind::kPowerOff:
    case EndKind::kReset:
    case EndKind::kStopped:
      // A panic restarts the machine (panic=-1): its words on the console tell the two apart.
      if (facts.panic.has_value()) return {"guest-panic", "console"};
      return {"guest-ended", "kvm"};
    case EndKind::kTripleFault:
      return {"triple-fault", "kvm"};
    case EndKind::kInternalError:
      return {"kvm-internal-error", "kvm"};
    case EndKind::kFailEntry:
      return {"kvm-fail-entry", "kvm"};
    case EndKind::kUnknownExit:
      return {"unknown-exit", "kvm"};
    case EndKind::kHostError:
      return {"host-error", "kvm"};
  }
  return {"unknown-exit", "kvm"};
}

Name NameOf(const GuestEndFacts& facts) {
  switch (facts.cause) {
    case EndCause::kMachine:
      return NameOfMachineEnd(facts);
    case EndCause::kPanicked:
      return {"guest-panic", "console"};
    case EndCause::kCpuHang:
      return {"cpu-hang", "watchdog"};
    case EndCause::kHeartbeatLost:
      // Silence of the agent alone, or of the whole machine.
      if (facts.panic.has_value()) return {"guest-panic", "console"};
      return facts.spinning.empty() ? Name{"heartbeat-lost", "watchdog"}
                                    : Name{"guest-stall", "watchdog"};
    case EndCause::kBootLimit:
      return {"boot-limit", "watchdog"};
    case EndCause::kTimeLimit:
      return {"time-limit", "watchdog"};
    case EndCause::kEndLimit:
      return {"end-limit", "watchdog"};
    case EndCause::kProtocol:
      return {"agent-error", "agent"};
    case EndCause::kInterrupted:
      return {"interrupted", "signal"};
    case EndCause::kHandler:
      return {"user-request", "command"};
  }
  return {"user-request", "command"};
}

bool Spins(const VcpuSnapshot& vcpu) {
  return vcpu.unavailable.empty() && vcpu.interrupts_off && !vcpu.waiting;
}

}  // namespace

absl::StatusOr<DumpWhen> ParseDumpWhen(absl::string_view name) {
  if (name == "never") return DumpWhen::kNever;
  if (name == "fail") return DumpWhen::kOnFail;
  if (name == "always") return DumpWhen::kAlways;
  return absl::InvalidArgumentError(
      absl::StrFormat("dump '%s': expected never, fail or always", name));
}

DumpTrigger TriggerOf(const GuestEndFacts& facts, const std::optional<Finding>& finding) {
  const Name name = NameOf(facts);
  return {.kind = name.kind,
          .source = name.source,
          .message = finding.has_value() ? finding->what : facts.machine_end.message,
          .vcpu = facts.cause == EndCause::kMachine ? facts.machine_end.vcpu : facts.hung_cpu};
}

bool WantsDump(DumpWhen when, const GuestEndFacts& facts, const std::optional<Finding>& finding) {
  if (when == DumpWhen::kNever) return false;
  if (facts.cause == EndCause::kInterrupted) return facts.detail == "SIGQUIT";
  if (when == DumpWhen::kAlways) return true;
  return finding.has_value();
}

std::string DescribeSpinning(const std::vector<VcpuSnapshot>& early,
                             const std::vector<VcpuSnapshot>& late) {
  std::vector<std::string> spinning;
  size_t started = 0;
  for (size_t i = 0; i < late.size() && i < early.size(); ++i) {
    // A CPU that the guest never started says nothing.
    if (late[i].unavailable.empty() && late[i].program_counter != 0 &&
        !absl::StrContains(late[i].registers_json, "\"mp_state\":\"uninitialized\"")) {
      ++started;
    }
    if (Spins(early[i]) && Spins(late[i])) {
      spinning.push_back(absl::StrFormat("CPU %d at %#x", i, late[i].program_counter));
    }
  }
  if (spinning.empty()) return "";
  return absl::StrCat(spinning.size() == started
                          ? absl::StrCat("all ", started, " CPUs run")
                          : absl::StrCat(spinning.size(), " of ", started, " CPUs run"),
                      " with interrupts off (", absl::StrJoin(spinning, ", "), ")");
}

}  // namespace stasis
