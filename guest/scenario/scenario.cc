#include "guest/scenario/scenario.h"

#include <algorithm>

namespace stasis {

absl::Span<const fields::EnumName<SchedPolicy>> EnumNames(SchedPolicy) {
  static constexpr fields::EnumName<SchedPolicy> kNames[] = {
      {SchedPolicy::kNormal, "normal"}, {SchedPolicy::kBatch, "batch"},
      {SchedPolicy::kIdle, "idle"},     {SchedPolicy::kFifo, "fifo"},
      {SchedPolicy::kRoundRobin, "rr"},
  };
  return kNames;
}

uint32_t WorkerCount(const Scenario& scenario) {
  uint64_t count = 0;
  for (const CgroupSpec& cgroup : scenario.cgroups) {
    for (const WorkSpec& work : cgroup.work) count += work.workers;
  }
  return static_cast<uint32_t>(std::min<uint64_t>(count, UINT32_MAX));
}

}  // namespace stasis
