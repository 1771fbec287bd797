// The ways in which the agent ends the machine.
#ifndef STASIS_GUEST_AGENT_POWER_H_
#define STASIS_GUEST_AGENT_POWER_H_

#include <string>

#include "guest/wire/messages.h"

namespace stasis::agent {

// kEnd becomes what the kernel's command line asks for (stasis.end=poweroff|reboot, default
// poweroff): a kernel without ACPI cannot power off, and only the host knows the machine.
wire::ShutdownHow ResolveEnd(wire::ShutdownHow how, const std::string& cmdline);

// Syncs and leaves. Returns only when the kernel refuses.
void EndMachine(wire::ShutdownHow how);

}  // namespace stasis::agent

#endif  // STASIS_GUEST_AGENT_POWER_H_
