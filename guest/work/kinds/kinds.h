// One function per kind: what a worker does from go until it is stopped.
#ifndef STASIS_GUEST_WORK_KINDS_KINDS_H_
#define STASIS_GUEST_WORK_KINDS_KINDS_H_

#include "guest/work/group.h"

namespace stasis::work {

// Runs in the worker's process. Returns when worker.stopped(); a kind that may be blocked then is
// ended by a signal instead.
using RunWork = void (*)(Worker& worker);
RunWork RunOf(WorkKind kind);

void RunCpuSpin(Worker& worker);
void RunBursty(Worker& worker);
void RunYield(Worker& worker);
void RunMixed(Worker& worker);
void RunIoSync(Worker& worker);
void RunPipePing(Worker& worker);
void RunFutexPing(Worker& worker);
void RunFutexFanout(Worker& worker);
void RunWakeChain(Worker& worker);
void RunCachePressure(Worker& worker);
void RunPageFaultChurn(Worker& worker);
void RunForkExit(Worker& worker);
void RunNiceSweep(Worker& worker);
void RunAffinityChurn(Worker& worker);
void RunPolicyChurn(Worker& worker);
void RunMutexContention(Worker& worker);
void RunRtPeriodic(Worker& worker);
void RunTimerWake(Worker& worker);
void RunSchbench(Worker& worker);
void RunCommand(Worker& worker);

}  // namespace stasis::work

#endif  // STASIS_GUEST_WORK_KINDS_KINDS_H_
