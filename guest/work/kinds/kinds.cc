#include "guest/work/kinds/kinds.h"

namespace stasis::work {

RunWork RunOf(WorkKind kind) {
  switch (kind) {
    case WorkKind::kCpuSpin:
      return RunCpuSpin;
    case WorkKind::kBursty:
      return RunBursty;
    case WorkKind::kYield:
      return RunYield;
    case WorkKind::kMixed:
      return RunMixed;
    case WorkKind::kIoSync:
      return RunIoSync;
    case WorkKind::kPipePing:
      return RunPipePing;
    case WorkKind::kFutexPing:
      return RunFutexPing;
    case WorkKind::kFutexFanout:
      return RunFutexFanout;
    case WorkKind::kWakeChain:
      return RunWakeChain;
    case WorkKind::kCachePressure:
      return RunCachePressure;
    case WorkKind::kPageFaultChurn:
      return RunPageFaultChurn;
    case WorkKind::kForkExit:
      return RunForkExit;
    case WorkKind::kNiceSweep:
      return RunNiceSweep;
    case WorkKind::kAffinityChurn:
      return RunAffinityChurn;
    case WorkKind::kPolicyChurn:
      return RunPolicyChurn;
    case WorkKind::kMutexContention:
      return RunMutexContention;
    case WorkKind::kRtPeriodic:
      return RunRtPeriodic;
    case WorkKind::kTimerWake:
      return RunTimerWake;
    case WorkKind::kSchbench:
      return RunSchbench;
    case WorkKind::kCommand:
      return RunCommand;
  }
  return RunCpuSpin;
}

}  // namespace stasis::work
