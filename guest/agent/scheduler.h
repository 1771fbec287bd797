// Scheduler: the program that attaches the tested sched_ext scheduler, started, watched and ended.
#ifndef STASIS_GUEST_AGENT_SCHEDULER_H_
#define STASIS_GUEST_AGENT_SCHEDULER_H_

#include <poll.h>
#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "guest/agent/commands.h"
#include "guest/agent/sched_ext.h"
#include "guest/agent/scheduler_output.h"
#include "guest/scenario/scheduler_spec.h"
#include "guest/wire/messages.h"

namespace stasis::agent {

// Owned by the runner; main thread only, which calls Sample every 100 ms, polls what AddPollFds
// lists and passes child exits on. Nothing here blocks, but StopAndWait, which is bounded: the
// kernel takes seconds to attach and to detach where it is emulated.
class Scheduler {
 public:
  enum class Phase {
    kNone,       // none was asked for, or it was stopped as it was told to
    kAttaching,  // its program runs, the kernel does not show it yet
    kAttached,
    kStopping,    // by Stop, Restart or Switch
    kRestarting,  // the kernel ended it as a CPU came or went; its program starts it again
    kEnding,    // it ended by itself: the last words of kernel and program are awaited
    kEnded,     // they are here: figures().end
  };
  struct Limits {
    absl::Duration attach = absl::Seconds(30);  // of a spec without a limit of its own
    absl::Duration last_words = absl::Seconds(10);
    absl::Duration stop = absl::Seconds(10);  // then SIGTERM, then SIGKILL
    // An end so soon after a CPU came or went is the kernel's way to have it started again.
    absl::Duration after_hotplug = absl::Seconds(2);
  };

  using Send = SchedulerOutput::Send;
  // `root` stands in front of /sys/kernel/sched_ext and /dev/kmsg: "" in the guest.
  Scheduler(Send send, std::string root, Limits limits);
  Scheduler(Send send, std::string root) : Scheduler(std::move(send), std::move(root), Limits()) {}
  ~Scheduler();
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  // Starts the program; the phase is kAttaching or, if it cannot be started, soon kEnded. Errors:
  // Unimplemented if the kernel has no sched_ext, FailedPrecondition if another one is attached.
  absl::Status Start(const SchedulerSpec& spec);

  // While attached, under load: ends the program, and starts it again or another one. The kernel's
  // own scheduler is at work between the two. Samples meanwhile are counted apart. Error:
  // FailedPrecondition if none is attached at the moment.
  absl::Status Restart();
  absl::Status Switch(const SchedulerSpec& next);
  // The kernel's own scheduler from here on.
  absl::Status Stop();

  // A CPU came or went just now. The kernel ends a scheduler that has no cpu_online and cpu_offline
  // then, and asks for it again (handle_hotplug in kernel/sched/ext.c): its program may take the
  // time of an attachment for that. Samples meanwhile are counted apart. An end at another time is
  // one, even if it came back before it was missed.
  void CpusChanged(uint64_t now) { cpus_changed_ns_ = now; }

  // Looks at the kernel, and follows what it shows.
  void Sample(uint64_t now);
  // The workers are let go at `now`: takes the first sample that counts.
  void BeginRun(uint64_t now);

  // True if `pid` was its program.
  bool OnChildExit(pid_t pid, int wait_status);
  void AddPollFds(std::vector<pollfd>* fds) const { commands_.AddPollFds(fds); }
  void HandleEvents(const std::vector<pollfd>& fds) { commands_.HandleEvents(fds); }

  // At the end of a run: tells the program to end and waits for it (Limits::stop at most, killed
  // then) and for the kernel to be done with it. Its output is sent, figures() stay.
  void StopAndWait();

  Phase phase() const { return phase_; }
  const SchedulerMeasurement& figures() const { return figures_; }
  const SchedExtState& seen() const { return seen_; }

 private:
  void Launch(const SchedulerSpec& spec, uint64_t now);
  absl::Status BeginStop(std::optional<SchedulerSpec> next);
  void OnMessage(const wire::AgentMessage& message);
  void Record(uint64_t now);
  void Follow(uint64_t now);
  void FollowAttaching(uint64_t now);
  void FollowStopping(uint64_t now);
  void FollowHotplug(uint64_t now);
  void FollowRestarting(uint64_t now);
  void FollowEnding(uint64_t now);
  void BeginEnding(SchedulerEndKind kind, uint64_t now);
  void Conclude();
  void SignalProgram(int signal);
  uint64_t AttachLimitNs() const;
  // The kernel has counted an attachment since ours; false on kernels that do not count.
  bool came_back() const { return seen_.sequence() > attached_seq_; }
  bool detached() const { return seen_.state == "disabled" || seen_.state.empty(); }

  const Send send_;
  const std::string root_;
  const Limits limits_;
  SchedulerOutput output_;
  KernelLog kernel_log_;
  Commands commands_;
  Phase phase_ = Phase::kNone;
  SchedulerSpec spec_;
  std::optional<SchedulerSpec> next_;  // of a switch
  uint32_t program_ = 0;               // counts the starts; id of the running command
  bool program_runs_ = false;
  wire::ExecExit exit_;         // when it no longer runs
  bool attached_once_ = false;  // this program
  // enable_seq of its attachment. The kernel counts a little after it shows the state.
  uint64_t attached_seq_ = 0;
  std::optional<uint64_t> cpus_changed_ns_;
  bool in_run_ = false;
  uint64_t deadline_ns_ = 0;  // of the phase
  int signals_sent_ = 0;
  SchedExtState seen_;
  SchedulerMeasurement figures_;
};

}  // namespace stasis::agent

#endif  // STASIS_GUEST_AGENT_SCHEDULER_H_
