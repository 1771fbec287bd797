// policy_churn: changes its scheduling class while it runs.
#include <sched.h>
#include <unistd.h>

#include <vector>

#include "guest/work/compute.h"
#include "guest/work/kinds/kinds.h"
#include "guest/work/policy.h"

namespace stasis::work {

void RunPolicyChurn(Worker& worker) {
  const std::vector<SchedPolicy>& policies = worker.spec.policies;
  size_t at = worker.index;
  uint64_t next = 0;
  while (!worker.stopped()) {
    Compute();
    worker.meter.CountIteration();
    const uint64_t now = worker.meter.Tick();
    if (now < next) continue;
    const SchedPolicy policy = policies[at++ % policies.size()];
    const bool real_time = policy == SchedPolicy::kFifo || policy == SchedPolicy::kRoundRobin;
    const sched_param param = {.sched_priority = real_time ? worker.spec.rt_priority : 0};
    if (sched_setscheduler(0, KernelPolicy(policy), &param) != 0) _exit(kExitRefused);
    next = now + Ns(worker.spec.period);
  }
}

}  // namespace stasis::work
