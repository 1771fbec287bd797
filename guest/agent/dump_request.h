// Asks the host for a dump of this machine, which is frozen meanwhile and then goes on.
#ifndef STASIS_GUEST_AGENT_DUMP_REQUEST_H_
#define STASIS_GUEST_AGENT_DUMP_REQUEST_H_

#include "absl/status/status.h"

namespace stasis::agent {

// Error: errno (no access to the port).
absl::Status RequestDump();

}  // namespace stasis::agent

#endif  // STASIS_GUEST_AGENT_DUMP_REQUEST_H_
