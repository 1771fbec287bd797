#include "tools/harness/guest_session.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tools/harness/startup_trace.h"

namespace stasis {
namespace {

constexpr absl::Duration kTick = absl::Seconds(1);
constexpr size_t kSerialSource = 0;
constexpr size_t kHvc0Source = 1;
constexpr int64_t kPanicTicks = 5;
constexpr absl::Duration kStressPeriod = absl::Milliseconds(2);

absl::Time MonotonicNow() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return absl::TimeFromTimespec(now);
}

sigset_t WatchedSignals() {
  sigset_t set;
  sigemptyset(&set);
  for (int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH, SIGUSR1}) {
    sigaddset(&set, signal);
  }
  return set;
}

absl::StatusOr<Mapping> MapFile(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return absl::ErrnoToStatus(errno, absl::StrCat("open ", path));
  struct stat file;
  absl::StatusOr<Mapping> mapping =
      fstat(fd, &file) == 0
          ? Mapping::OfFile(fd, file.st_size, path)
          : absl::StatusOr<Mapping>(absl::ErrnoToStatus(errno, absl::StrCat("stat ", path)));
  close(fd);
  return mapping;
}

// Tells the monitor that the guest stands still, for as long as one lives.
class MonitorPause {
 public:
  explicit MonitorPause(Monitor* monitor) : monitor_(monitor) {
    if (monitor_ != nullptr) monitor_->Pause();
  }
  ~MonitorPause() {
    if (monitor_ != nullptr) monitor_->Resume();
  }
  MonitorPause(const MonitorPause&) = delete;
  MonitorPause& operator=(const MonitorPause&) = delete;

 private:
  Monitor* const monitor_;
};

int Readable(int fd) {
  int bytes = 0;
  return ioctl(fd, FIONREAD, &bytes) == 0 ? bytes : 0;
}

}  // namespace

GuestSession::GuestSession(const GuestSessionOptions& options)
    : options_(options),
      created_(MonotonicNow()),
      agent_(
          {.on_message = [this](const wire::AgentMessage& message) { OnMessage(message); },
           .on_protocol_error =
               [this](const std::string& error) {
                 // Noise on the serial port is no reason to end a run; before the first hello it
                 // may be the hello itself, of another version.
                 if (!agent_.hello().has_value()) End(EndCause::kProtocol, error);
               },
           .write =
               [this](AgentLink::Transport transport, absl::string_view bytes) {
                 (transport == AgentLink::Transport::kPort ? agent_port_ : serial_)->Write(bytes);
               }}),
      phase_(options.agent ? GuestPhase::kBooting : GuestPhase::kPlain) {}

absl::StatusOr<std::unique_ptr<GuestSession>> GuestSession::Create(
    const GuestSessionOptions& options, const KernelImage& kernel) {
  std::unique_ptr<GuestSession> session(new GuestSession(options));
  absl::Status status = session->Assemble(kernel);
  if (!status.ok()) return status;
  return session;
}

GuestSession::~GuestSession() {
  monitor_.reset();
  machine_.reset();
  if (signal_fd_ >= 0) {
    loop_->Remove(signal_fd_);
    close(signal_fd_);
    const sigset_t watched = WatchedSignals();
    pthread_sigmask(SIG_UNBLOCK, &watched, nullptr);
  }
}

absl::Status GuestSession::Assemble(const KernelImage& kernel) {
  absl::StatusOr<std::unique_ptr<EventLoop>> loop = EventLoop::Create();
  if (!loop.ok()) return loop.status();
  loop_ = *std::move(loop);

  // Blocked before any thread of the machine exists, so that all inherit it and the signals come
  // to signal_fd_ alone.
  const sigset_t watched = WatchedSignals();
  pthread_sigmask(SIG_BLOCK, &watched, nullptr);
  signal(SIGPIPE, SIG_IGN);  // a reader of our output that leaves is seen by write()
  signal_fd_ = signalfd(-1, &watched, SFD_CLOEXEC | SFD_NONBLOCK);
  if (signal_fd_ < 0) return absl::ErrnoToStatus(errno, "signalfd");
  absl::Status status = loop_->Add(signal_fd_, EPOLLIN, [this](uint32_t) { OnSignal(); });
  if (!status.ok()) return status;

  MachineConfig config = options_.machine;
  config.hold_at_end = options_.dump.when != DumpWhen::kNever;
  absl::StatusOr<std::unique_ptr<Machine>> machine = Machine::Create(config);
  if (!machine.ok()) return machine.status();
  machine_ = *std::move(machine);
  absl::StatusOr<std::unique_ptr<GuestDevices>> devices =
      GuestDevices::Add(machine_.get(), loop_.get());
  if (!devices.ok()) return devices.status();
  devices_ = *std::move(devices);
  absl::StatusOr<GuestDisks> disks = GuestDisks::Add(machine_.get(), options_.disks);
  if (!disks.ok()) return disks.status();
  disks_ = *std::move(disks);
  devices_->set_on_dump_request([this] {
    Dump({.kind = "guest-request", .source = "agent", .message = "the guest asked for a dump"},
         std::nullopt);
  });
  recorder_ = std::make_unique<IncidentRecorder>(
      machine_.get(), options_.dump,
      IncidentRecorder::Context{
          .more = [this] { return DumpMore(); },
          .vmcoreinfo = [this] { return VmcoreInfoOfAgent(); },
          .scheduler_view =
              [this](const GuestMemory& memory, const MachineSnapshot& snapshot) {
                return scheduler_snapshot_.Take(memory, VmcoreInfoOfAgent(), snapshot.vcpus);
              }});
  cpu_watch_ = std::make_unique<CpuWatch>(options_.heartbeat_limit);
  console_.set_on_alarm([this](const ConsoleAlarm& alarm) { OnAlarm(alarm); });
  status = OpenChannels();
  if (!status.ok()) return status;

  Mapping initrd;
  if (!options_.initrd.empty()) {
    absl::StatusOr<Mapping> mapped = MapFile(options_.initrd);
    if (!mapped.ok()) return mapped.status();
    initrd = *std::move(mapped);
  }
  MarkStartup("devices");
  status = machine_->LoadLinux(kernel, options_.cmdline, initrd.bytes());
  kernel.DropPages();
  MarkStartup("guest memory");
  return status;
}

std::optional<dump::VmcoreInfoHint> GuestSession::VmcoreInfoOfAgent() const {
  const auto& hello = agent_.hello();
  if (!hello.has_value() || !hello->vmcoreinfo.has_value()) return std::nullopt;
  return dump::VmcoreInfoHint{hello->vmcoreinfo->address, hello->vmcoreinfo->size};
}

absl::Status GuestSession::OpenChannels() {
  auto open = [this](GuestDevices::Port port, std::function<void(absl::string_view)> on_bytes,
                     std::unique_ptr<ByteChannel>* channel) {
    absl::StatusOr<std::unique_ptr<ByteChannel>> made =
        ByteChannel::Create(loop_.get(), devices_->fd(port), /*owned=*/false,
                            {.on_bytes = std::move(on_bytes), .on_drained = [this] {
                               if (on_drained_ && unsent_to_agent() == 0) on_drained_();
                             }});
    if (made.ok()) *channel = *std::move(made);
    return made.status();
  };
  auto on_hvc0 = [this](absl::string_view bytes) {
    console_.Append(kHvc0Source, bytes);
    if (callbacks_.on_hvc0) callbacks_.on_hvc0(bytes);
  };
  absl::Status status = open(
      GuestDevices::kSerial, [this](absl::string_view bytes) { OnSerialBytes(bytes); }, &serial_);
  status.Update(open(GuestDevices::kHvc0, on_hvc0, &hvc0_));
  status.Update(open(
      GuestDevices::kAgent, [this](absl::string_view bytes) { OnAgentBytes(bytes); },
      &agent_port_));
  return status;
}

void GuestSession::OnSerialBytes(absl::string_view bytes) {
  std::string text;
  if (options_.agent) {
    agent_.Feed(AgentLink::Transport::kSerial, bytes, MonotonicNow(), &text);
  } else {
    text = std::string(bytes);
  }
  console_.Append(kSerialSource, text);
  if (callbacks_.on_serial && !text.empty()) callbacks_.on_serial(text);
}

void GuestSession::OnAgentBytes(absl::string_view bytes) {
  std::string text;
  agent_.Feed(AgentLink::Transport::kPort, bytes, MonotonicNow(), &text);
  console_.Append(kSerialSource, text);
}

void GuestSession::OnMessage(const wire::AgentMessage& message) {
  silent_ticks_ = 0;
  if (recorder_->has_early() && !early_of_monitor_ && !cpu_watch_->Suspect(0.5).has_value()) {
    recorder_->Note("the agent is heard again");
    recorder_->DropEarly();
  }
  if (const auto* symbols = std::get_if<wire::Symbols>(&message)) symbols_ = *symbols;
  if (const auto* samples = std::get_if<wire::WorkerSamples>(&message)) samples_ = *samples;
  if (phase_ == GuestPhase::kBooting && std::holds_alternative<wire::Hello>(message)) {
    phase_ = GuestPhase::kIdle;
    times_.hello = MonotonicNow();
    times_.to_hello = times_.hello - started_;
    times_.use_at_hello = ReadProcessUse();
    recorder_->Note("the agent said hello");
    StartMonitor();
  }
  if (callbacks_.on_message) callbacks_.on_message(message);
}

void GuestSession::OnSignal() {
  signalfd_siginfo info;
  while (read(signal_fd_, &info, sizeof(info)) == sizeof(info)) {
    if (info.ssi_signo == SIGUSR1) {
      Dump({.kind = "user-request", .source = "command", .message = "asked for by SIGUSR1"},
           std::nullopt);
    } else if (info.ssi_signo != SIGWINCH) {
      End(EndCause::kInterrupted, absl::StrCat("SIG", sigabbrev_np(info.ssi_signo)));
    } else if (std::optional<WindowSize> size = TerminalSize(0); size && callbacks_.on_window) {
      callbacks_.on_window(*size);
    }
  }
}

void GuestSession::ResizeHvc0(WindowSize size) { devices_->Resize(size.rows, size.columns); }

void GuestSession::OnAlarm(const ConsoleAlarm& alarm) {
  recorder_->Note(absl::StrCat("console: ", alarm.line));
  if (alarm.kind == ConsoleAlarmKind::kPanic) {
    panic_ticks_ = 0;
  } else if (!alarm_dumped_ && recorder_->settings().when != DumpWhen::kNever) {
    // Where the trouble was seen is worth more than what is left of it at the end. Once.
    alarm_dumped_ = true;
    Dump({.kind = "kernel-alarm", .source = "console", .message = alarm.line}, std::nullopt);
  }
}

void GuestSession::Dump(const DumpTrigger& trigger, const std::optional<Finding>& verdict) {
  if (recorder_->settings().when == DumpWhen::kNever) return;
  const MonitorPause pause(monitor_.get());
  const DumpRecord& record = recorder_->Dump(trigger, verdict);
  fprintf(stderr, "stasis: %s\n", DescribeDump(record).c_str());
}

nlohmann::json GuestSession::DumpMore() const {
  using nlohmann::json;
  json more = dump_more_ ? dump_more_() : json::object();
  static constexpr const char* kPhases[] = {"booting", "idle", "running", "ending", "plain"};
  more["phase"] = kPhases[static_cast<int>(phase_)];
  more["host"] = {{"lane", options_.lane}};
  more["machine"] = {{"kernel", options_.kernel_path}};
  const std::string release =
      agent_.hello().has_value() ? agent_.hello()->kernel_release : options_.kernel_release;
  if (!release.empty()) more["machine"]["kernel_release"] = release;
  json alarms = json::array();
  for (const ConsoleAlarm& alarm : console_.alarms()) {
    alarms.push_back({{"kind", std::string(ConsoleAlarmName(alarm.kind))}, {"line", alarm.line}});
  }
  more["console"] = {{"tail", console_.Text()},
                     {"total_bytes", console_.total_bytes()},
                     {"alarms", std::move(alarms)}};
  if (symbols_.has_value()) {
    json symbols = json::object();
    for (const auto& [name, address] : symbols_->address) {
      symbols[name] = absl::StrFormat("%#x", address);
    }
    more["symbols"] = std::move(symbols);
  } else {
    more["symbols"] = {{"unavailable", "the agent has not sent them"}};
  }
  if (monitor_ != nullptr) more["monitor"] = monitor_->Recent();
  if (samples_.has_value()) {
    if (!samples_->scheduler.empty()) more["scheduler"] = {{"last_seen", samples_->scheduler}};
    json workers = json::array();
    for (const wire::WorkerSample& sample : samples_->samples) {
      workers.push_back({{"index", sample.index},
                         {"iterations", sample.iterations},
                         {"run_ns", sample.run_ns},
                         {"max_gap_ns", sample.max_gap_ns},
                         {"current_gap_ns", sample.current_gap_ns},
                         {"cpu", sample.cpu}});
    }
    more["workers"] = std::move(workers);
  }
  return more;
}

void GuestSession::StressFreeze() {
  if (stress_left_ <= 0 || phase_ != GuestPhase::kRunning) return;
  --stress_left_;
  const MonitorPause pause(monitor_.get());
  if (!machine_->Freeze().complete()) ++incomplete_freezes_;
  machine_->Thaw();
}

std::vector<ThreadSchedule> GuestSession::ReadThreads() const {
  std::vector<ThreadSchedule> threads;
  for (const VcpuStats& stats : machine_->Stats()) {
    std::optional<ThreadSchedule> schedule = ReadThreadSchedule(stats.thread_id);
    if (!schedule.has_value()) return {};  // a host without schedstats
    threads.push_back(*schedule);
  }
  return threads;
}

// Suspicion at half of the limit: an early snapshot shows what led to the verdict.
void GuestSession::WatchForHangs() {
  if (recorder_->settings().when == DumpWhen::kNever) return;
  const int64_t half = options_.heartbeat_limit / kTick / 2;
  if (silent_ticks_ == half) {
    TakeEarly({.kind = "heartbeat-lost",
               .source = "watchdog",
               .message = absl::StrCat("no heartbeat for ", half, " s")},
              /*of_monitor=*/false);
  }
  const std::vector<ThreadSchedule> threads = ReadThreads();
  for (size_t cpu = 0; cpu < threads.size(); ++cpu) {
    // Asked for a second ago or earlier.
    if (std::optional<VcpuGlance> glance = machine_->TakeGlance(cpu)) {
      cpu_watch_->Look(cpu, *glance);
    }
  }
  for (int cpu : cpu_watch_->Tick(threads)) machine_->RequestGlance(cpu);
  if (std::optional<int> suspect = cpu_watch_->Suspect(0.5);
      suspect.has_value() && !recorder_->has_early()) {
    TakeEarly({.kind = "cpu-hang",
               .source = "watchdog",
               .message = absl::StrCat("CPU ", *suspect, " has interrupts off"),
               .vcpu = *suspect},
              /*of_monitor=*/false);
  }
}

void GuestSession::TakeEarly(const DumpTrigger& trigger, bool of_monitor) {
  const MonitorPause pause(monitor_.get());
  recorder_->TakeEarly(trigger);
  early_of_monitor_ = of_monitor;
}

void GuestSession::StartMonitor() {
  if (options_.monitor.hz <= 0 || monitor_ != nullptr) return;
  monitor_ = std::make_unique<Monitor>(
      &machine_->memory(), options_.monitor, [this](const MonitorEvent& event) {
        loop_->Post([this, event] { OnMonitor(event); });
      });
  std::vector<pid_t> threads;
  for (const VcpuStats& stats : machine_->Stats()) threads.push_back(stats.thread_id);
  monitor_->Start(VmcoreInfoOfAgent(), std::move(threads));
}

void GuestSession::OnMonitor(const MonitorEvent& event) {
  // A kernel that panics stands still, and has said why.
  if (ended_ || phase_ != GuestPhase::kRunning || panic_ticks_ >= 0) return;
  const MonitorFinding& finding = event.finding;
  switch (event.what) {
    case MonitorEvent::What::kSuspected:
      if (recorder_->settings().when == DumpWhen::kNever || recorder_->has_early()) return;
      TakeEarly({.kind = "scheduler-stall",
                 .source = "monitor",
                 .message = finding.text,
                 .vcpu = finding.cpu},
                /*of_monitor=*/true);
      return;
    case MonitorEvent::What::kCleared:
      if (!recorder_->has_early() || !early_of_monitor_) return;
      recorder_->Note("nobody waits any more");
      recorder_->DropEarly();
      return;
    case MonitorEvent::What::kFound:
      recorder_->Note(absl::StrCat("monitor: ", finding.text));
      if (callbacks_.on_finding) callbacks_.on_finding(finding);
      return;
  }
}

nlohmann::json GuestSession::monitor() const {
  if (monitor_ == nullptr) return nullptr;
  // Of the guest's clock, as all times of a result are.
  const absl::Time zero = agent_.HostTime(0).value_or(absl::UnixEpoch());
  return monitor_->ToJson([zero](absl::Time at) {
    return static_cast<uint64_t>(std::max<int64_t>(0, absl::ToInt64Nanoseconds(at - zero)));
  });
}

void GuestSession::OnTick() {
  ++ticks_;
  if (agent_port_->reading()) ++silent_ticks_;
  if (callbacks_.on_tick) callbacks_.on_tick();
  auto past = [](int64_t ticks, absl::Duration limit) { return ticks * kTick > limit; };
  auto end = [this](EndCause cause, absl::Duration limit) {
    end_.limit = limit;
    End(cause);
  };
  // A panic restarts the machine at once, unless the user's command line says otherwise.
  if (!ended_ && panic_ticks_ >= 0 && ++panic_ticks_ > kPanicTicks) End(EndCause::kPanicked);
  if (ended_ || phase_ == GuestPhase::kPlain) {
    if (!ended_ && past(ticks_, options_.total_limit)) {
      end(EndCause::kTimeLimit, options_.total_limit);
    }
    return;
  }
  if (phase_ == GuestPhase::kIdle || phase_ == GuestPhase::kRunning) WatchForHangs();
  if (std::optional<int> hung = cpu_watch_->Suspect(1); hung.has_value()) {
    end_.hung_cpu = *hung;
    end(EndCause::kCpuHang, options_.heartbeat_limit);
  } else if (phase_ == GuestPhase::kEnding && past(++ending_ticks_, options_.end_limit)) {
    end(EndCause::kEndLimit, options_.end_limit);
  } else if (phase_ == GuestPhase::kBooting && past(ticks_, options_.boot_limit)) {
    end(EndCause::kBootLimit, options_.boot_limit);
  } else if ((phase_ == GuestPhase::kIdle || phase_ == GuestPhase::kRunning) &&
             past(silent_ticks_, options_.heartbeat_limit)) {
    end(EndCause::kHeartbeatLost, options_.heartbeat_limit);
  } else if (past(ticks_, options_.total_limit)) {
    end(EndCause::kTimeLimit, options_.total_limit);
  }
}

void GuestSession::BeginRun() {
  phase_ = GuestPhase::kRunning;
  recorder_->Note("the run begins");
  if (monitor_ != nullptr) monitor_->Arm();
  if (options_.freeze_stress > 0) {
    stress_left_ = options_.freeze_stress;
    loop_->AddTimer(
        kStressPeriod, [this] { StressFreeze(); }, /*repeat=*/true);
  }
  SampleNoise();
}

void GuestSession::BeginEnd() {
  times_.use_at_end = ReadProcessUse();
  SampleNoise();
  phase_ = GuestPhase::kEnding;
  recorder_->Note("the guest is told to end");
  if (monitor_ != nullptr) monitor_->Disarm();
  Send(wire::Shutdown{wire::ShutdownHow::kEnd});
}

void GuestSession::SampleNoise() {
  std::vector<ThreadSchedule> sample;
  for (const VcpuStats& stats : machine_->Stats()) {
    std::optional<ThreadSchedule> schedule = ReadThreadSchedule(stats.thread_id);
    if (!schedule.has_value()) return;  // a host without schedstats: no noise is known
    sample.push_back(*schedule);
  }
  noise_.AddSample(MonotonicNow(), std::move(sample), ReadThreadSchedule(gettid()));
}

void GuestSession::End(EndCause cause, std::string detail) {
  if (ended_) return;
  ended_ = true;
  end_.cause = cause;
  end_.detail = std::move(detail);
  end_.phase = phase_;
  loop_->Stop();
}

absl::StatusOr<GuestEndFacts> GuestSession::Run() {
  started_ = MonotonicNow();
  loop_->AddTimer(
      kTick, [this] { OnTick(); }, /*repeat=*/true);
  loop_->AddTimer(
      HostNoise::kPeriod,
      [this] {
        if (phase_ == GuestPhase::kRunning) SampleNoise();
      },
      /*repeat=*/true);
  absl::Status started = machine_->Start([this](const MachineEnd& end) {
    loop_->Post([this, end] {
      // What the guest wrote last (a panic, the result) stands before its end.
      DrainConsoles();
      if (!ended_) end_.machine_end = end;
      End(EndCause::kMachine);
    });
  });
  if (!started.ok()) return started;
  loop_->Run();
  if (monitor_ != nullptr) monitor_->Stop();
  FillConsoleFacts();
  DumpEnd();
  machine_->Stop();
  end_.machine_end = machine_->Wait();
  times_.first_run = machine_->first_run();
  times_.cpu_to_first_run = machine_->cpu_time_until_first_run();
  times_.to_first_run = times_.first_run - created_;
  times_.total = MonotonicNow() - started_;
  return end_;
}

void GuestSession::DumpEnd() {
  const DumpWhen when = recorder_->settings().when;
  if (when == DumpWhen::kNever) return;
  if (end_.cause == EndCause::kHeartbeatLost) end_.spinning = recorder_->CompareWithEarly();
  const std::optional<Finding> finding = JudgeGuestEnd(end_);
  if (WantsDump(when, end_, finding)) Dump(TriggerOf(end_, finding), finding);
}

bool GuestSession::Flush(ByteChannel* channel, int fd) {
  while (channel->pending() > 0 && !channel->broken()) {
    pollfd ready[2] = {{fd, POLLOUT, 0}, {signal_fd_, POLLIN, 0}};
    poll(ready, 2, -1);
    signalfd_siginfo info;
    if (ready[1].revents != 0 && read(signal_fd_, &info, sizeof(info)) == sizeof(info) &&
        info.ssi_signo != SIGWINCH && info.ssi_signo != SIGUSR1) {
      return false;
    }
    if (ready[0].revents != 0) channel->WriteReady();
  }
  return true;
}

bool GuestSession::ConsolesHaveBytes() const {
  return Readable(devices_->fd(GuestDevices::kSerial)) > 0 ||
         Readable(devices_->fd(GuestDevices::kHvc0)) > 0 ||
         Readable(devices_->fd(GuestDevices::kAgent)) > 0;
}

void GuestSession::DrainConsoles() {
  // A few turns in any case: a device may yet have to move bytes from guest memory to its socket.
  // Bounded, as what buffers and sockets hold is.
  constexpr int kLeastTurns = 8;
  constexpr int kMostTurns = 4000;
  for (int turn = 0; turn < kMostTurns && !ended_; ++turn) {
    if (turn >= kLeastTurns && !ConsolesHaveBytes()) return;
    loop_->RunOnce(absl::ZeroDuration());
  }
}

void GuestSession::FillConsoleFacts() {
  for (const ConsoleAlarm& alarm : console_.alarms()) {
    std::optional<ConsoleAlarm>& slot =
        alarm.kind == ConsoleAlarmKind::kPanic ? end_.panic : end_.alarm;
    if (!slot.has_value()) slot = alarm;
  }
  const std::vector<std::string> last = console_.LastLines(1);
  if (!last.empty()) end_.last_console_line = last.front();
  end_.console_bytes = console_.total_bytes();
}

}  // namespace stasis
