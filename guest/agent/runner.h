// Runner: carries out one scenario in the guest and measures it.
#ifndef STASIS_GUEST_AGENT_RUNNER_H_
#define STASIS_GUEST_AGENT_RUNNER_H_

#include <poll.h>
#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "guest/agent/cgroups.h"
#include "guest/agent/observer.h"
#include "guest/agent/scheduler.h"
#include "guest/agent/steps.h"
#include "guest/agent/workers.h"
#include "guest/scenario/scenario.h"
#include "guest/wire/messages.h"

namespace stasis::agent {

// One scenario at a time; main thread only. The main loop polls timer_fd() and what AddPollFds
// lists, and passes on child exits. Everything that happens is told to the host through `send`; the last message of a run is
// a Result or an Error.
class Runner {
 public:
  using Send = std::function<void(const wire::AgentMessage&)>;
  // `system_root` stands in front of /sys: "" in the guest.
  Runner(Send send, std::string cgroup_root, std::string system_root = "");
  ~Runner();
  Runner(const Runner&) = delete;
  Runner& operator=(const Runner&) = delete;

  void Start(const Scenario& scenario, const CpuGroups& cpus);
  // Workers outlive the Result by a second, so that a dump shows what they waited for.
  bool running() const { return run_ != nullptr; }
  // Ends whatever goes on, at once and without a word.
  void Stop();
  int timer_fd() const { return timer_fd_; }

  // Something is due: a sample, a step, or the end of the run.
  void OnTimer();
  void AddPollFds(std::vector<pollfd>* fds) const { scheduler_.AddPollFds(fds); }
  void HandleEvents(const std::vector<pollfd>& fds) { scheduler_.HandleEvents(fds); }

  // True if `pid` was a worker, a program of a step, or the scheduler.
  bool OnChildExit(pid_t pid, int wait_status);

 private:
  struct Run {
    Scenario scenario;
    CpuGroups cpus;
    std::unique_ptr<Cgroups> cgroups;
    std::unique_ptr<Workers> workers;
    std::unique_ptr<Steps> steps;
    std::unique_ptr<Observer> observer;
    uint64_t start_ns = 0;
    uint64_t end_ns = 0;  // planned
    bool reported = false;  // the Result was sent: what is left is to end
    uint64_t cut_ns = 0;  // the scheduler ended: nothing is measured from here on
    uint64_t next_sample_ns = 0;
    uint64_t settled_ns = 0;  // when the transition after a step is over; 0: none goes on
    uint64_t calibration_ns = 0;
    std::optional<std::map<std::string, uint64_t>> scx_events;  // at the start
  };

  void SetUpAndBegin();
  // With Error. `layer` is the one of an error that the status's code says nothing else of.
  void GiveUp(const char* layer, const absl::Status& status);
  bool FollowScheduler(uint64_t now);
  absl::Status ChangeScheduler(const Action& action);
  absl::Status SetUp();
  void Begin();
  // Sets the timer to the next thing that is due.
  void Arm();
  void RunSteps(uint64_t now);
  void Sample(uint64_t now);
  void Finish(uint64_t now);
  void TearDown();

  const Send send_;
  const std::string cgroup_root_;
  const std::string system_root_;
  int timer_fd_ = -1;
  Scheduler scheduler_;
  std::unique_ptr<Run> run_;
};

// The counters of <system_root>/sys/kernel/sched_ext/root/events; nothing where there are none.
std::optional<std::map<std::string, uint64_t>> ReadScxEvents(const std::string& system_root);

}  // namespace stasis::agent

#endif  // STASIS_GUEST_AGENT_RUNNER_H_
