// What an invocation of several runs comes to: the runs in their order, and how many at a time.
#ifndef STASIS_TOOLS_HARNESS_RUN_SET_PLAN_H_
#define STASIS_TOOLS_HARNESS_RUN_SET_PLAN_H_

#include <cstdint>
#include <string>
#include <vector>

namespace stasis {

struct PlannedRun {
  std::string scenario;  // as the user wrote it
  std::string name;      // short, and different for different files of the same name
  uint32_t repeat = 1;   // counted from 1 for each name

  std::string Label() const;     // "steady #2"
  std::string FileName() const;  // "steady-2": the same without what a file name should not have
};

// Every scenario `repeat` times. One round of all scenarios after the other, so that a host that
// becomes slower or faster meanwhile does the same to each of them. A scenario that is named twice
// is repeated.
std::vector<PlannedRun> PlanRuns(const std::vector<std::string>& scenarios, uint32_t repeat);

// What one run takes of the host.
struct RunNeeds {
  uint32_t cpus = 1;
  uint64_t memory_bytes = 0;
};
// A guest of that size on this host's KVM, or with the emulated host around it, which has one CPU.
RunNeeds NeedsOf(uint32_t guest_cpus, uint64_t guest_memory_bytes, bool nested);

// What the host has to give.
struct HostRoom {
  uint32_t cpus = 1;
  uint64_t memory_bytes = 0;  // 0: not known, and no bound
};
// CPUs that this process may use, and memory that is available to it (of the host, and of its
// cgroup where that has less).
HostRoom RoomOfThisHost();

struct JobChoice {
  uint32_t jobs = 1;
  std::string why;  // "2 at a time: 2 CPUs, 1 for each run"
};
// As many as there are runs and the host has room for, never less than one; no more than
// `asked_for` unless that is 0. `needs` are the largest of all runs. Guests that share a CPU would
// measure each other.
JobChoice ChooseJobs(uint32_t asked_for, uint32_t runs, const RunNeeds& needs,
                     const HostRoom& room);

}  // namespace stasis

#endif  // STASIS_TOOLS_HARNESS_RUN_SET_PLAN_H_
