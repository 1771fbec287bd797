// nice_sweep: requeued with another weight while it runs.
#include <sys/resource.h>
#include <unistd.h>

#include "guest/work/compute.h"
#include "guest/work/kinds/kinds.h"

namespace stasis::work {

void RunNiceSweep(Worker& worker) {
  const int from = static_cast<int>(worker.spec.nice_from);
  const int to = static_cast<int>(worker.spec.nice_to);
  int nice = from;
  uint64_t next = 0;
  while (!worker.stopped()) {
    Compute();
    worker.meter.CountIteration();
    const uint64_t now = worker.meter.Tick();
    if (now < next) continue;
    if (setpriority(PRIO_PROCESS, 0, nice) != 0) _exit(kExitRefused);
    nice = nice == to ? from : nice + (to > from ? 1 : -1);
    next = now + Ns(worker.spec.period);
  }
}

}  // namespace stasis::work
