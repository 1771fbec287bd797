#include "vmm/freeze/kick.h"

#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace stasis {
namespace {

thread_local uint8_t* volatile kick_target = nullptr;

// One async-signal-safe store (F1). A signal that arrives between the check of the stop flag and
// KVM_RUN thus still keeps the thread out of the guest (F3).
void OnKick(int) {
  uint8_t* const target = kick_target;
  if (target != nullptr) __atomic_store_n(target, uint8_t{1}, __ATOMIC_RELAXED);
}

}  // namespace

absl::Status InstallKickHandler() {
  struct sigaction action = {};
  action.sa_handler = OnKick;
  sigemptyset(&action.sa_mask);
  if (sigaction(SIGRTMIN, &action, nullptr) != 0) {
    return absl::ErrnoToStatus(errno, "sigaction of SIGRTMIN");
  }
  return absl::OkStatus();
}

void SetKickTarget(uint8_t* immediate_exit) { kick_target = immediate_exit; }

bool KickThread(pid_t thread_id) { return syscall(SYS_tgkill, getpid(), thread_id, SIGRTMIN) == 0; }

}  // namespace stasis
