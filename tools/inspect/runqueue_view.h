// What waits on one CPU's runqueue, class by class and in the order in which the kernel would take it,
// and the scheduling domains that the CPU belongs to.
#ifndef STASIS_TOOLS_INSPECT_RUNQUEUE_VIEW_H_
#define STASIS_TOOLS_INSPECT_RUNQUEUE_VIEW_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <unordered_set>
#include <vector>

#include "nlohmann/json.hpp"
#include "tools/inspect/cgroup_paths.h"
#include "tools/inspect/kernel.h"

namespace stasis {

// A task, or a group of them, in a tree of the fair class.
struct FairEntity {
  int depth = 0;         // 0: on the CPU's own queue; 1: in a group on it
  std::string group;     // cgroup of a group; empty: a task
  int pid = 0;           // of a task
  std::string comm;      // of a task
  bool current = false;  // taken out of the tree to run
  // It, or a group that it is in, has used up its cpu.max: in no tree that the CPU looks at.
  bool throttled = false;
  bool delayed = false;      // sleeps, but stays until its lag is used up (6.12)
  uint64_t queued = 0;       // of a group: tasks in it and in its groups
  uint64_t weight = 0;       // load.weight: 1048576 for nice 0 and for cpu.weight 100
  uint64_t vruntime_ns = 0;  // each tree has a time of its own
  std::optional<uint64_t> deadline_ns;  // since EEVDF (6.6)
  // By which it is behind (positive: it may be picked) or ahead of the weighted mean of its tree.
  std::optional<int64_t> lag_ns;
};

struct RealTimeEntity {
  int pid = 0;
  std::string comm;
  int priority = 0;  // 1 to 99; those of the highest come first
  bool current = false;
};

struct DeadlineEntity {
  int pid = 0;  // 0 for a server
  std::string comm;
  bool server = false;  // runs tasks of another class, so that they do not starve (6.12)
  bool throttled = false;
  uint64_t deadline_ns = 0;  // by the runqueue's clock
  int64_t runtime_ns = 0;    // left until then
};

struct SchedDomain {
  std::string name;  // "MC"; empty where the kernel keeps none
  int level = 0;
  std::string span;  // CPUs: "0-3"
  uint64_t flags = 0;
};

struct RunqueueQueues {
  // Every queue is walked to its end, or its end is in `unavailable` of the view.
  std::vector<FairEntity> fair;
  std::vector<RealTimeEntity> real_time;
  std::vector<DeadlineEntity> deadline;
  std::vector<SchedDomain> domains;  // the smallest first
};

// Reads runqueues one after the other. One thread; what it is given outlives it.
class RunqueueReader {
 public:
  // `unavailable` takes what was cut or this kernel does not have.
  RunqueueReader(const Kernel* kernel, int cpus, CgroupPaths* cgroups,
                 std::vector<std::string>* unavailable);

  RunqueueQueues Read(int cpu, const KernelStruct& rq);

  // Nodes of all queues of all CPUs together.
  static constexpr size_t kMostNodes = 1 << 17;

 private:
  void ReadFair(int cpu, const KernelStruct& rq, std::vector<FairEntity>* entities);
  void ReadFairQueue(const KernelStruct& queue, int depth, bool throttled,
                     std::vector<FairEntity>* entities);
  void ReadThrottled(int cpu, std::vector<FairEntity>* entities);
  void ReadRealTime(const KernelStruct& rq, uint64_t current, uint64_t array, int depth,
                    std::vector<RealTimeEntity>* entities);
  void ReadDeadline(const KernelStruct& rq, std::vector<DeadlineEntity>* entities);
  void ReadDomains(const KernelStruct& rq, std::vector<SchedDomain>* domains);
  std::vector<uint64_t> Groups();
  std::string GroupName(const KernelStruct& queue);
  void NameTask(uint64_t address, int* pid, std::string* comm) const;
  // Takes nodes from the budget; says what is cut.
  std::vector<uint64_t> Take(const char* what, struct Walk walk);
  void Say(std::string what);

  const Kernel& kernel_;
  const int cpus_;
  CgroupPaths& cgroups_;
  std::vector<std::string>& unavailable_;
  std::unordered_set<std::string> said_;
  size_t budget_ = kMostNodes;
  std::unordered_set<uint64_t> queues_;  // of the fair class, seen on this CPU
  std::optional<std::vector<uint64_t>> groups_;
};

// "0-3,6" of a bit mask.
std::string CpuList(const std::vector<uint64_t>& words, int cpus);
// The words of a mask for `cpus` CPUs; nothing when it cannot be read.
std::optional<std::vector<uint64_t>> ReadCpuMask(const KernelMemory& memory, uint64_t address,
                                                 int cpus);

// Members fair_queue, real_time_queue, deadline_queue and domains of a runqueue (docs/dump-format.md).
void PutQueues(const RunqueueQueues& queues, nlohmann::json* runqueue);

}  // namespace stasis

#endif  // STASIS_TOOLS_INSPECT_RUNQUEUE_VIEW_H_
