// Kick: makes a vCPU thread leave KVM_RUN, or not enter it, without a race (rules F1 to F3).
#ifndef STASIS_VMM_FREEZE_KICK_H_
#define STASIS_VMM_FREEZE_KICK_H_

#include <sys/types.h>

#include <cstdint>

#include "absl/status/status.h"

namespace stasis {

// Installs the handler of SIGRTMIN for the whole process, without SA_RESTART, so that a blocked
// system call returns EINTR (F1). Idempotent.
absl::Status InstallKickHandler();

// Tells the handler which `immediate_exit` byte (of kvm_run) belongs to the calling thread; null
// for none. The byte must outlive the thread's last kick.
void SetKickTarget(uint8_t* immediate_exit);

// Sends SIGRTMIN to one thread of this process (tgkill). False if it is gone.
bool KickThread(pid_t thread_id);

}  // namespace stasis

#endif  // STASIS_VMM_FREEZE_KICK_H_
