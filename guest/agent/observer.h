// Observer: how work groups get on over time, and how evenly CPUs are used, from the samples.
#ifndef STASIS_GUEST_AGENT_OBSERVER_H_
#define STASIS_GUEST_AGENT_OBSERVER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "guest/agent/workers.h"
#include "guest/scenario/measurements.h"
#include "guest/scenario/scenario.h"

namespace stasis::agent {

// Where a runnable task is.
struct Runnable {
  uint32_t cpu = 0;
  CpuSet allowed;
};
// Of all pairs of CPUs of which the first one has a task that may run on the second one: how many
// more the first one has, at most.
struct Imbalance {
  uint64_t most = 0;
  uint32_t busy_cpu = 0;
  uint32_t free_cpu = 0;
};
Imbalance ImbalanceOf(const std::vector<Runnable>& tasks);

// The state letter and the CPU (field 39) of a /proc/PID/stat. Nothing for any other text.
struct TaskPlace {
  char state = '?';
  uint32_t cpu = 0;
};
std::optional<TaskPlace> ParseStat(absl::string_view text);

// Main thread only.
class Observer {
 public:
  explicit Observer(const Scenario& scenario);

  void Begin(uint64_t now);
  // After each sample.
  void Look(const Workers& workers, uint64_t now);
  // Adds marks, groups and imbalance.
  void Fill(Measurements* measurements) const;

 private:
  static constexpr size_t kMostMarks = 256;
  static constexpr uint64_t kFirstPeriodNs = 100000000;

  struct Group {
    GroupMeasurement figures;
    uint64_t done = 0;         // iterations of all its workers
    uint64_t moving_since_ns;  // it got something done then, or nobody of it wanted the CPU
  };
  void LookAtGroups(const Workers& workers, uint64_t now);
  void Mark(uint64_t now);
  void LookAtCpus(const Workers& workers, uint64_t now);

  std::vector<Group> groups_;  // in the order of the scenario
  std::vector<size_t> first_;  // by cgroup: index in groups_
  std::map<std::string, size_t> cgroups_;
  std::vector<uint64_t> marks_ns_;
  uint64_t period_ns_ = kFirstPeriodNs;
  uint64_t next_mark_ns_ = 0;
  std::optional<ImbalanceMeasurement> imbalance_;
  double imbalance_sum_ = 0;
};

}  // namespace stasis::agent

#endif  // STASIS_GUEST_AGENT_OBSERVER_H_
