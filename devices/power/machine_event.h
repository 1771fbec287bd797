// MachineEvent: what a guest tells the machine through its power and panic registers.
#ifndef STASIS_DEVICES_POWER_MACHINE_EVENT_H_
#define STASIS_DEVICES_POWER_MACHINE_EVENT_H_

#include <functional>

namespace stasis {

enum class MachineEvent {
  kPowerOff,     // the guest went to S5
  kReset,        // the guest asked for a reset
  kPanic,        // the guest kernel panicked
  kCrashLoaded,  // the guest kernel panicked and its crash kernel takes over
  kDumpRequest,  // the guest asked for a dump of itself
};

// Called on the vCPU thread that wrote the register; must not block.
using MachineEventCallback = std::function<void(MachineEvent)>;

inline const char* MachineEventName(MachineEvent event) {
  switch (event) {
    case MachineEvent::kPowerOff:
      return "power-off";
    case MachineEvent::kReset:
      return "reset";
    case MachineEvent::kPanic:
      return "panic";
    case MachineEvent::kCrashLoaded:
      return "crash-loaded";
    case MachineEvent::kDumpRequest:
      return "dump-request";
  }
  return "unknown";
}

}  // namespace stasis

#endif  // STASIS_DEVICES_POWER_MACHINE_EVENT_H_
