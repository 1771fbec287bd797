#include "tools/harness/guest_end.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace stasis {
namespace {

// Whom a crash or hang in this phase speaks of.
Layer LayerOf(GuestPhase phase) {
  switch (phase) {
    case GuestPhase::kBooting:
    case GuestPhase::kPlain:
      return Layer::kBoot;
    case GuestPhase::kRunning:
      return Layer::kScheduler;
    case GuestPhase::kIdle:
    case GuestPhase::kEnding:
      return Layer::kAgent;
  }
  return Layer::kNone;
}

std::string When(GuestPhase phase) {
  switch (phase) {
    case GuestPhase::kBooting:
      return "before the agent said hello";
    case GuestPhase::kIdle:
      return "before the run began";
    case GuestPhase::kRunning:
      return "during the run";
    case GuestPhase::kEnding:
      return "behind the result";
    case GuestPhase::kPlain:
      return "";
  }
  return "";
}

Finding Fail(const GuestEndFacts& facts, std::string what, std::string to_do = "") {
  return Finding{Verdict::kFail, LayerOf(facts.phase), std::move(what), std::move(to_do)};
}

// The trouble that the kernel itself named explains a silence better than the silence.
std::string WithConsole(const GuestEndFacts& facts, std::string what) {
  if (facts.panic.has_value()) return absl::StrCat(what, "; console: ", facts.panic->line);
  if (facts.alarm.has_value()) return absl::StrCat(what, "; console: ", facts.alarm->line);
  if (!facts.last_console_line.empty()) {
    return absl::StrCat(what, "; last console line: ", OneLine(facts.last_console_line, 160));
  }
  return absl::StrCat(what, facts.console_bytes == 0 ? "; its console is empty" : "");
}

std::string Seconds(absl::Duration limit) {
  return absl::StrFormat("%g s", absl::ToDoubleSeconds(limit));
}

std::optional<Finding> JudgeMachineEnd(const GuestEndFacts& facts) {
  const MachineEnd& end = facts.machine_end;
  const std::string kind(EndKindName(end.kind));
  switch (end.kind) {
    case EndKind::kPowerOff:
    case EndKind::kReset:
    case EndKind::kStopped:
      // A panic restarts the machine (panic=-1), so that its message tells the two apart.
      if (facts.panic.has_value()) return Fail(facts, facts.panic->line);
      if (facts.phase == GuestPhase::kEnding || facts.phase == GuestPhase::kPlain) {
        return std::nullopt;
      }
      return Fail(facts,
                  WithConsole(facts, absl::StrCat("the guest ended by itself (", kind, ") ",
                                                  When(facts.phase))),
                  facts.phase == GuestPhase::kBooting ? "see more with --verbose" : "");
    case EndKind::kPanic:
      return Fail(facts, facts.panic.has_value()
                             ? facts.panic->line
                             : WithConsole(facts, "the guest kernel notified a panic"));
    case EndKind::kTripleFault:
      return Fail(facts, WithConsole(facts, absl::StrFormat("triple fault on vCPU %d %s", end.vcpu,
                                                            When(facts.phase))));
    case EndKind::kInternalError:
    case EndKind::kFailEntry:
    case EndKind::kUnknownExit:
    case EndKind::kHostError:
      return Finding{Verdict::kError, Layer::kHost,
                     absl::StrFormat("KVM gave up on vCPU %d: %s: %s", end.vcpu, kind, end.message),
                     "run 'stasis doctor', or use --accel nested"};
  }
  return Fail(facts, "the guest ended in an unknown way");
}

}  // namespace

std::optional<Finding> JudgeGuestEnd(const GuestEndFacts& facts) {
  switch (facts.cause) {
    case EndCause::kHandler:
      return std::nullopt;
    case EndCause::kMachine:
      return JudgeMachineEnd(facts);
    case EndCause::kInterrupted: {
      Finding finding{Verdict::kError, Layer::kHost, absl::StrCat("interrupted by ", facts.detail)};
      finding.interrupted = true;
      return finding;
    }
    case EndCause::kBootLimit:
      return Fail(facts,
                  WithConsole(facts, absl::StrCat("the agent did not say hello within ",
                                                  Seconds(facts.limit))),
                  "see the whole boot with --verbose");
    case EndCause::kHeartbeatLost:
      return Fail(
          facts,
          WithConsole(facts, absl::StrCat("the guest hangs: no heartbeat for ",
                                          Seconds(facts.limit), " ", When(facts.phase),
                                          facts.spinning.empty() ? "" : "; ", facts.spinning)));
    case EndCause::kPanicked:
      return Fail(facts, facts.panic.has_value() ? facts.panic->line : "the guest panicked");
    case EndCause::kCpuHang:
      return Fail(facts,
                  WithConsole(facts, absl::StrFormat("CPU %d hangs: interrupts off for %s %s",
                                                     facts.hung_cpu, Seconds(facts.limit),
                                                     When(facts.phase))));
    case EndCause::kTimeLimit:
      return Fail(facts,
                  WithConsole(facts, absl::StrCat("not done within the time limit of ",
                                                  Seconds(facts.limit))),
                  "allow more with --time-limit");
    case EndCause::kEndLimit:
      return Fail(facts, WithConsole(facts, absl::StrCat("the guest was told to end and did not "
                                                         "within ",
                                                         Seconds(facts.limit))));
    case EndCause::kProtocol:
      return Finding{Verdict::kError, Layer::kAgent, facts.detail,
                     "the guest agent and this program must be of one build"};
  }
  return std::nullopt;
}

}  // namespace stasis
