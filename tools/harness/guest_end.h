// What the end of a guest means: from the machine's end, the console and the phase to a finding.
#ifndef STASIS_TOOLS_HARNESS_GUEST_END_H_
#define STASIS_TOOLS_HARNESS_GUEST_END_H_

#include <optional>
#include <string>

#include "absl/time/time.h"
#include "tools/harness/console_log.h"
#include "tools/harness/verdict.h"
#include "vmm/vcpu/machine_end.h"

namespace stasis {

// What the guest was doing.
enum class GuestPhase {
  kBooting,  // no hello from the agent yet
  kIdle,     // the agent is there and nothing was asked of it
  kRunning,  // a scenario or command is under way
  kEnding,   // its result is here, and it was told to end
  kPlain,    // a plain boot: no agent is expected, and the guest may end as it likes
};

// Why the session is over.
enum class EndCause {
  kMachine,        // the machine ended by itself: see machine_end
  kBootLimit,      // no hello in time
  kHeartbeatLost,  // the agent fell silent
  kPanicked,       // the console told of a panic, and the machine did not end
  kCpuHang,        // a CPU runs with interrupts off while others go on
  kTimeLimit,      // the whole run took too long
  kEndLimit,       // told to end, and did not
  kProtocol,       // the agent speaks another protocol version, or nonsense
  kHandler,        // whoever uses the session has seen enough
  kInterrupted,    // SIGINT, SIGTERM, SIGHUP, SIGQUIT to this process
};

struct GuestEndFacts {
  EndCause cause = EndCause::kMachine;
  GuestPhase phase = GuestPhase::kBooting;
  MachineEnd machine_end;
  absl::Duration limit;               // that was exceeded
  std::string detail;                 // of kProtocol; signal name of kInterrupted
  std::optional<ConsoleAlarm> panic;  // the first panic on the console
  std::optional<ConsoleAlarm> alarm;  // the first alarm of another kind
  std::string spinning;               // what vCPUs do that have interrupts off, if that is seen
  int hung_cpu = -1;                  // of kCpuHang
  std::string last_console_line;
  uint64_t console_bytes = 0;
};

// Nothing for a good end: power-off or restart after the result, any end of a plain boot that the
// guest chose, or kHandler.
std::optional<Finding> JudgeGuestEnd(const GuestEndFacts& facts);

}  // namespace stasis

#endif  // STASIS_TOOLS_HARNESS_GUEST_END_H_
