// The kernel's number of a scheduling policy.
#ifndef STASIS_GUEST_WORK_POLICY_H_
#define STASIS_GUEST_WORK_POLICY_H_

#include <sched.h>

#include "guest/scenario/work_spec.h"

namespace stasis::work {

inline int KernelPolicy(SchedPolicy policy) {
  switch (policy) {
    case SchedPolicy::kNormal:
      return SCHED_OTHER;
    case SchedPolicy::kBatch:
      return SCHED_BATCH;
    case SchedPolicy::kIdle:
      return SCHED_IDLE;
    case SchedPolicy::kFifo:
      return SCHED_FIFO;
    case SchedPolicy::kRoundRobin:
      return SCHED_RR;
  }
  return SCHED_OTHER;
}

}  // namespace stasis::work

#endif  // STASIS_GUEST_WORK_POLICY_H_
