// affinity_churn: has to move whenever its CPU is no longer among its own.
#include <sched.h>

#include <vector>

#include "guest/work/compute.h"
#include "guest/work/kinds/kinds.h"

namespace stasis::work {

void RunAffinityChurn(Worker& worker) {
  const std::vector<uint32_t> cpus = worker.allowed.Cpus();
  uint64_t random = SeedOf(worker);
  uint64_t next = 0;
  while (!worker.stopped()) {
    Compute();
    worker.meter.CountIteration();
    const uint64_t now = worker.meter.Tick();
    if (now < next || cpus.empty()) continue;
    // One CPU half of the time, so that it must move; else any set.
    cpu_set_t mask;
    CPU_ZERO(&mask);
    const uint64_t bits = NextRandom(&random);
    if (bits & 1) {
      for (size_t i = 0; i < cpus.size(); ++i) {
        if (NextRandom(&random) & 1) CPU_SET(cpus[i], &mask);
      }
    }
    if (CPU_COUNT(&mask) == 0) CPU_SET(cpus[(bits >> 1) % cpus.size()], &mask);
    // A CPU that was unplugged, or a cpuset that was changed meanwhile, may refuse: then not.
    sched_setaffinity(0, sizeof(mask), &mask);
    next = now + Ns(worker.spec.period);
  }
}

}  // namespace stasis::work
