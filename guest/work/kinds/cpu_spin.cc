// cpu_spin: never gives the CPU away.
#include "guest/work/compute.h"
#include "guest/work/kinds/kinds.h"

namespace stasis::work {

void RunCpuSpin(Worker& worker) {
  while (!worker.stopped()) {
    Compute();
    worker.meter.CountIteration();
    worker.meter.Tick();
  }
}

}  // namespace stasis::work
