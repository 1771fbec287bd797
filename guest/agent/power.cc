#include "guest/agent/power.h"

#include <stdlib.h>
#include <sys/reboot.h>
#include <unistd.h>

#include "guest/agent/system.h"

namespace stasis::agent {

wire::ShutdownHow ResolveEnd(wire::ShutdownHow how, const std::string& cmdline) {
  if (how != wire::ShutdownHow::kEnd) return how;
  return CommandLineValue(cmdline, wire::kEndWord) == "reboot" ? wire::ShutdownHow::kReboot
                                                               : wire::ShutdownHow::kPoweroff;
}

void EndMachine(wire::ShutdownHow how) {
  sync();
  switch (how) {
    case wire::ShutdownHow::kEnd:
    case wire::ShutdownHow::kPoweroff:
      reboot(RB_POWER_OFF);
      return;
    case wire::ShutdownHow::kReboot:
      reboot(RB_AUTOBOOT);
      return;
    case wire::ShutdownHow::kPanic:
      WriteText("/proc/sysrq-trigger", "c").IgnoreError();
      abort();  // without magic SysRq: the death of PID 1 is a panic as well
  }
}

}  // namespace stasis::agent
