// WorkSpec: what one group of workers does.
#ifndef STASIS_GUEST_SCENARIO_WORK_SPEC_H_
#define STASIS_GUEST_SCENARIO_WORK_SPEC_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "guest/json/fields.h"

namespace stasis {

// Bounds: all figures of a run fit into one message (wire/frame.h), and priorities of workers stay
// below the agent's own, without which a real-time hog would silence the measurement itself.
inline constexpr uint32_t kMaxWorkers = 512;
inline constexpr int kMaxWorkerRtPriority = 49;
inline constexpr int kAgentRtPriority = 50;

// What each one does, and its parameters: the table in work_table.cc.
enum class WorkKind {
  kCpuSpin,
  kBursty,
  kYield,
  kMixed,
  kIoSync,
  kPipePing,
  kFutexPing,
  kFutexFanout,
  kWakeChain,
  kCachePressure,
  kPageFaultChurn,
  kForkExit,
  kNiceSweep,
  kAffinityChurn,
  kPolicyChurn,
  kMutexContention,
  kRtPeriodic,
  kTimerWake,
  kSchbench,
  kCommand,
};
absl::Span<const fields::EnumName<WorkKind>> EnumNames(WorkKind);

enum class SchedPolicy { kNormal, kBatch, kIdle, kFifo, kRoundRobin };
absl::Span<const fields::EnumName<SchedPolicy>> EnumNames(SchedPolicy);

// A group of workers, each a process of its own. A parameter that does not belong to the kind is
// zero or empty.
struct WorkSpec {
  WorkKind kind = WorkKind::kCpuSpin;
  std::string name;      // for steps and expectations; "": none, else the only one of the scenario
  bool at_start = true;  // false: a step starts it
  uint32_t workers = 1;
  int nice = 0;
  SchedPolicy policy = SchedPolicy::kNormal;
  int rt_priority = 0;  // fifo and rr (also those of policy_churn): 1..kMaxWorkerRtPriority
  std::string cpus;     // affinity inside the cgroup (ResolveCpus); empty: all of the cgroup's

  // Parameters of kinds.
  absl::Duration run;
  absl::Duration sleep;
  absl::Duration period;
  absl::Duration hold;
  uint64_t memory_bytes = 0;
  uint64_t block_bytes = 0;
  uint64_t span_bytes = 0;
  uint64_t message_bytes = 0;
  uint64_t tokens = 0;
  int64_t nice_from = 0;
  int64_t nice_to = 0;
  std::string path;
  std::vector<std::string> command;
  std::vector<SchedPolicy> policies;

  template <typename V, typename Self>
  static void VisitFields(V& v, Self& self) {
    v("kind", self.kind);
    v.Optional("name", self.name);
    v.Optional("at_start", self.at_start);
    v("workers", self.workers);
    v("nice", self.nice);
    v("policy", self.policy);
    v("rt_priority", self.rt_priority);
    v("cpus", self.cpus);
    v("run_ns", self.run);
    v("sleep_ns", self.sleep);
    v("period_ns", self.period);
    v("hold_ns", self.hold);
    v("memory_bytes", self.memory_bytes);
    v("block_bytes", self.block_bytes);
    v("span_bytes", self.span_bytes);
    v("message_bytes", self.message_bytes);
    v("tokens", self.tokens);
    v("nice_from", self.nice_from);
    v("nice_to", self.nice_to);
    v("path", self.path);
    v("command", self.command);
    v("policies", self.policies);
  }
};

}  // namespace stasis

#endif  // STASIS_GUEST_SCENARIO_WORK_SPEC_H_
