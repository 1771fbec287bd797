// Runner: carries out one scenario in the guest and measures it.
#ifndef STASIS_GUEST_AGENT_RUNNER_H_
#define STASIS_GUEST_AGENT_RUNNER_H_

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "guest/agent/cgroups.h"
#include "guest/agent/scheduler.h"
#include "guest/scenario/scenario.h"
#include "guest/wire/messages.h"
#include "guest/work/group.h"
#include "guest/work/slot.h"

namespace stasis::agent {

// One scenario at a time; main thread only. The main loop polls timer_fd() and what AddPollFds lists,
// and passes on child exits. Everything that happens is told to the host through `send`; the last message of a run is
// a Result or an Error.
class Runner {
 public:
  using Send = std::function<void(const wire::AgentMessage&)>;
  // `system_root` stands in front of /sys/kernel/sched_ext: "" in the guest.
  Runner(Send send, std::string cgroup_root, std::string system_root = "");
  ~Runner();
  Runner(const Runner&) = delete;
  Runner& operator=(const Runner&) = delete;

  void Start(const Scenario& scenario, const CpuGroups& cpus);
  bool running() const { return run_ != nullptr; }
  int timer_fd() const { return timer_fd_; }

  // A sample is due: takes it, and ends the run when its time is over.
  void OnTimer();
  void AddPollFds(std::vector<pollfd>* fds) const { scheduler_.AddPollFds(fds); }
  void HandleEvents(const std::vector<pollfd>& fds) { scheduler_.HandleEvents(fds); }

  // True if `pid` was a worker or the scheduler.
  bool OnChildExit(pid_t pid, int wait_status);

 private:
  struct Worker {
    const WorkSpec* spec;
    pid_t pid = -1;  // -1: gone
    WorkerMeasurement figures;
  };
  struct Run {
    Scenario scenario;
    CpuGroups cpus;
    std::unique_ptr<work::SlotArena> arena;
    std::vector<std::unique_ptr<work::WorkGroup>> groups;
    std::vector<Worker> workers;
    std::unique_ptr<Cgroups> cgroups;
    uint64_t start_ns = 0;
    uint64_t end_ns = 0;  // planned
    uint64_t cut_ns = 0;  // the scheduler ended: nothing is measured from here on
  };

  void SetUpAndBegin();
  void GiveUp(const char* layer, const absl::Status& status);
  bool FollowScheduler(uint64_t now);
  void StartTimer();
  absl::Status SetUp(const CpuGroups& cpus);
  absl::Status SetUpCgroup(const CgroupSpec& spec, const CpuGroups& cpus);
  absl::Status StartWorker(const CgroupSpec& cgroup, uint32_t work, uint32_t member,
                           const CpuSet& allowed);
  void Begin();
  void Sample(uint64_t now);
  void SendSamples(uint64_t now);
  void Finish(uint64_t now);
  void KillWorkers();
  void TearDown();

  const Send send_;
  const std::string cgroup_root_;
  int timer_fd_ = -1;
  Scheduler scheduler_;
  std::unique_ptr<Run> run_;
};

}  // namespace stasis::agent

#endif  // STASIS_GUEST_AGENT_RUNNER_H_
