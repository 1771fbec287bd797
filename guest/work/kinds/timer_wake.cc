// timer_wake: nothing but timers.
#include <algorithm>

#include "guest/work/compute.h"
#include "guest/work/kinds/kinds.h"

namespace stasis::work {

void RunTimerWake(Worker& worker) {
  uint64_t due = worker.meter.Tick();
  while (!worker.stopped()) {
    due = std::max(due + Ns(worker.spec.period), worker.meter.Tick());
    worker.meter.SleepUntil(due);
    worker.meter.CountIteration();
  }
}

}  // namespace stasis::work
