// GuestSession: one virtual machine from its first instruction to its end, with consoles, agent and
// time limits.
#ifndef STASIS_TOOLS_HARNESS_GUEST_SESSION_H_
#define STASIS_TOOLS_HARNESS_GUEST_SESSION_H_

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "tools/harness/agent_link.h"
#include "tools/harness/byte_channel.h"
#include "tools/harness/console_log.h"
#include "tools/harness/cpu_watch.h"
#include "tools/harness/guest_devices.h"
#include "tools/harness/guest_disks.h"
#include "tools/harness/guest_end.h"
#include "tools/harness/host_noise.h"
#include "tools/harness/incident.h"
#include "tools/harness/scheduler_snapshot.h"
#include "tools/harness/process_use.h"
#include "tools/harness/terminal.h"
#include "tools/monitor/monitor.h"
#include "vmm/boot/kernel_image.h"
#include "vmm/boot/mapping.h"
#include "vmm/event/event_loop.h"
#include "vmm/machine.h"

namespace stasis {

struct GuestSessionOptions {
  MachineConfig machine;
  std::string cmdline;
  std::string initrd;  // path; empty: none
  DiskSettings disks;
  // PID 1 is our agent. Without: a plain boot, which only `total_limit` ends from outside.
  bool agent = true;
  absl::Duration boot_limit = absl::Seconds(60);
  absl::Duration heartbeat_limit = absl::Seconds(20);
  absl::Duration end_limit = absl::Seconds(30);
  absl::Duration total_limit = absl::InfiniteDuration();
  DumpSettings dump;
  // Looks at the scheduler of the running guest, once its agent has said hello; hz 0: it does not.
  MonitorSettings monitor = {.hz = 0};
  // How often the guest is frozen and thawed, every few milliseconds, from BeginRun on: for tests.
  int freeze_stress = 0;
  // For the dump: the image's path and what is known of its release.
  std::string kernel_path;
  std::string kernel_release;
  std::string lane;
};

// Of all freezes of a session (F12).
struct SessionFreezes {
  FreezeLatencies latencies;
  int incomplete = 0;  // somebody did not stand still in time
};

struct SessionTimes {
  absl::Duration to_first_run;  // from Create to the first KVM_RUN
  absl::Duration to_hello;      // from Run to the agent's hello; zero: never
  absl::Duration total;         // of Run
  // The same moments by CLOCK_MONOTONIC; InfiniteFuture: never.
  absl::Time first_run = absl::InfiniteFuture();
  absl::Time hello = absl::InfiniteFuture();
  absl::Duration cpu_to_first_run;  // of this process since its exec
  // When the agent said hello, and when it was told to end: with the disks' workers.
  ProcessUse use_at_hello;
  ProcessUse use_at_end;
};

// Create, set callbacks, Run once. Everything happens on the thread that calls Run, on its event
// loop. Trouble is dumped as options.dump says, while the machine is still there. Limits are
// counted in ticks of one second that the loop itself has seen: a host that stops the whole program
// (a suspended laptop, a blocked terminal) does not run them down.
class GuestSession {
 public:
  struct Callbacks {
    std::function<void(const wire::AgentMessage&)> on_message;
    std::function<void(absl::string_view)> on_hvc0;    // besides the console log
    std::function<void(absl::string_view)> on_serial;  // without the agent's frames
    std::function<void(WindowSize)> on_window;         // SIGWINCH, with the size of descriptor 0
    std::function<void()> on_tick;                     // once a second
    // Of the monitor, between BeginRun and BeginEnd: as soon as it is seen.
    std::function<void(const MonitorFinding&)> on_finding;
  };

  // Makes the machine, its devices and loads the kernel. `kernel` may go once this returns.
  // Errors: those of Machine, KernelImage and devices.
  static absl::StatusOr<std::unique_ptr<GuestSession>> Create(const GuestSessionOptions& options,
                                                              const KernelImage& kernel);
  ~GuestSession();
  GuestSession(const GuestSession&) = delete;
  GuestSession& operator=(const GuestSession&) = delete;

  // More of the dump's JSON (docs/dump-format.md): `scenario`. Asked for each dump.
  void set_dump_more(std::function<nlohmann::json()> more) { dump_more_ = std::move(more); }
  // Freezes, dumps and goes on. `verdict` is what the user will read, if that is known.
  void Dump(const DumpTrigger& trigger, const std::optional<Finding>& verdict);
  // For the time line of dumps.
  void Note(const std::string& what) { recorder_->Note(what); }
  // So far, in order.
  const std::vector<DumpRecord>& dumps() const { return recorder_->dumps(); }

  void set_callbacks(Callbacks callbacks) { callbacks_ = std::move(callbacks); }
  EventLoop* loop() { return loop_.get(); }
  ConsoleLog* console() { return &console_; }
  const AgentLink& agent() const { return agent_; }
  Machine& machine() { return *machine_; }
  const GuestDisks& disks() const { return disks_; }
  const HostNoise& noise() const { return noise_; }
  const SessionTimes& times() const { return times_; }
  // `monitor` of docs/result-json.md; null without a monitor.
  nlohmann::json monitor() const;
  SessionFreezes freezes() const { return {machine_->freeze_latencies(), incomplete_freezes_}; }

  void Send(const wire::HostMessage& message) { agent_.Send(message); }
  // Bytes of messages that the agent has not taken yet, and when it has taken all.
  size_t unsent_to_agent() const { return agent_port_->pending() + serial_->pending(); }
  void set_on_agent_drained(std::function<void()> drained) { on_drained_ = std::move(drained); }
  // Stops reading what the agent sends, while our own reader is slow; it then waits, and its
  // silence is not counted.
  void SetAgentReading(bool reading) { agent_port_->SetReading(reading); }
  ByteChannel* hvc0() { return hvc0_.get(); }
  ByteChannel* serial() { return serial_.get(); }
  void ResizeHvc0(WindowSize size);

  GuestPhase phase() const { return phase_; }
  // A scenario or command begins: its host noise is sampled from here on.
  void BeginRun();
  // The result is here: tells the agent to end the machine, which must follow within end_limit.
  void BeginEnd();
  // Ends the session at once (kHandler or whatever the caller names). The first end wins.
  void End(EndCause cause, std::string detail = "");

  // Starts the vCPUs and returns when all is over: vCPU threads are gone, consoles are read to the
  // end. SIGINT, SIGTERM, SIGHUP and SIGQUIT meanwhile end the session with kInterrupted; SIGQUIT
  // dumps first. SIGUSR1 dumps and goes on.
  // Error: the machine did not start.
  absl::StatusOr<GuestEndFacts> Run();

  // Behind Run: writes what `channel` has pending to `fd`, for as long as its reader takes; false
  // when a signal that would have ended the session came instead.
  bool Flush(ByteChannel* channel, int fd);

 private:
  explicit GuestSession(const GuestSessionOptions& options);
  absl::Status Assemble(const KernelImage& kernel);
  std::optional<dump::VmcoreInfoHint> VmcoreInfoOfAgent() const;
  absl::Status OpenChannels();
  void OnSerialBytes(absl::string_view bytes);
  void OnAgentBytes(absl::string_view bytes);
  void OnMessage(const wire::AgentMessage& message);
  void OnSignal();
  void OnAlarm(const ConsoleAlarm& alarm);
  void OnTick();
  void StressFreeze();
  void WatchForHangs();
  void StartMonitor();
  void OnMonitor(const MonitorEvent& event);
  void TakeEarly(const DumpTrigger& trigger, bool of_monitor);
  std::vector<ThreadSchedule> ReadThreads() const;
  nlohmann::json DumpMore() const;
  // The dump of the session's end, while the machine still stands.
  void DumpEnd();
  void SampleNoise();
  bool ConsolesHaveBytes() const;
  void DrainConsoles();
  void FillConsoleFacts();

  const GuestSessionOptions options_;
  const absl::Time created_;
  std::unique_ptr<EventLoop> loop_;
  ConsoleLog console_;
  AgentLink agent_;
  HostNoise noise_;
  SessionTimes times_;
  Callbacks callbacks_;
  std::function<void()> on_drained_;
  absl::Time started_;

  GuestPhase phase_ = GuestPhase::kBooting;
  GuestEndFacts end_;
  bool ended_ = false;
  // Ticks since the start, the last word from the agent, and BeginEnd.
  int64_t ticks_ = 0;
  int64_t silent_ticks_ = 0;
  int64_t ending_ticks_ = 0;
  int64_t panic_ticks_ = -1;  // since the console told of a panic; -1: it did not
  bool alarm_dumped_ = false;
  int stress_left_ = 0;
  int incomplete_freezes_ = 0;
  std::function<nlohmann::json()> dump_more_;
  std::optional<wire::Symbols> symbols_;
  std::optional<wire::WorkerSamples> samples_;
  SchedulerSnapshot scheduler_snapshot_;  // reads machine_'s memory
  std::unique_ptr<IncidentRecorder> recorder_;
  std::unique_ptr<CpuWatch> cpu_watch_;
  bool early_of_monitor_ = false;  // the early snapshot, if there is one

  int signal_fd_ = -1;
  std::unique_ptr<GuestDevices> devices_;
  GuestDisks disks_;
  std::unique_ptr<ByteChannel> serial_;
  std::unique_ptr<ByteChannel> hvc0_;
  std::unique_ptr<ByteChannel> agent_port_;
  // Last, so that it goes before: its devices use what stands above.
  std::unique_ptr<Machine> machine_;
  // But for this one, whose thread reads its memory.
  std::unique_ptr<Monitor> monitor_;
};

}  // namespace stasis

#endif  // STASIS_TOOLS_HARNESS_GUEST_SESSION_H_
