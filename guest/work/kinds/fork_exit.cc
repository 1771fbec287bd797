// fork_exit: a new process every time.
#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest/work/compute.h"
#include "guest/work/kinds/kinds.h"

namespace stasis::work {
namespace {

uint64_t NsOf(const timeval& time) {
  return static_cast<uint64_t>(time.tv_sec) * 1000000000u +
         static_cast<uint64_t>(time.tv_usec) * 1000u;
}

}  // namespace

// Worker and child take turns: one of them wants the CPU at any time, so that the time from the
// fork until the child runs, and from its exit until the worker runs, are gaps like any other
// (with the kernel's own work for them). The child reports in the worker's slot.
void RunForkExit(Worker& worker) {
  const pid_t self = getpid();
  while (!worker.stopped()) {
    const uint64_t asked = worker.meter.Tick();
    const uint64_t cpu_ns = worker.meter.CpuNs();
    const pid_t pid = fork();
    if (pid < 0) _exit(kExitRefused);  // no memory, or pids.max
    if (pid == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (getppid() != self) _exit(0);
      worker.meter.BecomeChild(cpu_ns);
      worker.meter.Tick();
      ComputeFor(Ns(worker.spec.run), &worker);
      worker.meter.Tick();
      _exit(0);
    }
    rusage use = {};
    int status = 0;
    while (wait4(pid, &status, 0, &use) < 0 && errno == EINTR) {
    }
    worker.meter.AddChildTime(NsOf(use.ru_utime) + NsOf(use.ru_stime));
    worker.meter.Tick();
    if (status != 0) _exit(kExitRefused);
    worker.meter.CountResponse(asked);
    worker.meter.CountIteration();
  }
}

}  // namespace stasis::work
