// yield: gives the CPU away all the time.
#include <sched.h>

#include "guest/work/compute.h"
#include "guest/work/kinds/kinds.h"

namespace stasis::work {

void RunYield(Worker& worker) {
  while (!worker.stopped()) {
    Compute();
    worker.meter.CountIteration();
    sched_yield();
    worker.meter.Tick();
  }
}

}  // namespace stasis::work
