// bursty: run, sleep, run, ...
#include "guest/work/compute.h"
#include "guest/work/kinds/kinds.h"

namespace stasis::work {

// `run` of its own CPU time would hide waiting, so that wall time since the start of the burst is
// what counts.
void RunBursty(Worker& worker) {
  while (!worker.stopped()) {
    uint64_t now = worker.meter.Tick();
    const uint64_t end = now + Ns(worker.spec.run);
    while (now < end && !worker.stopped()) {
      Compute();
      worker.meter.CountIteration();
      now = worker.meter.Tick();
    }
    worker.meter.SleepUntil(now + Ns(worker.spec.sleep));
  }
}

}  // namespace stasis::work
