// rt_periodic: a control loop.
#include "guest/work/compute.h"
#include "guest/work/kinds/kinds.h"

namespace stasis::work {

void RunRtPeriodic(Worker& worker) {
  const uint64_t period = Ns(worker.spec.period);
  uint64_t release = worker.meter.Tick();
  while (!worker.stopped()) {
    release += period;
    // Releases that passed while it was late are lost, as they are for a machine that it controls.
    const uint64_t now = worker.meter.Tick();
    if (now > release) release += (now - release + period - 1) / period * period;
    worker.meter.SleepUntil(release);
    ComputeFor(Ns(worker.spec.run), &worker);
    worker.meter.CountResponse(release);
    worker.meter.CountIteration();
  }
}

}  // namespace stasis::work
