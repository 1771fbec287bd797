#include "guest/agent/agent.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "guest/agent/boot.h"
#include "guest/agent/facts.h"
#include "guest/agent/power.h"
#include "guest/agent/system.h"
#include "guest/scenario/scenario.h"

namespace stasis::agent {
namespace {

constexpr char kSerialDevice[] = "/dev/ttyS0";
constexpr char kCgroupRoot[] = "/sys/fs/cgroup";
// The port shows up some milliseconds after its driver; a machine without one falls back to serial.
constexpr uint64_t kVirtioWaitNs = 3000000000;
constexpr useconds_t kVirtioPollUs = 2000;
constexpr uint64_t kVirtioCheckPeriodNs = 500000000;  // while on the serial line
constexpr uint64_t kClosedRetryNs = 100000000;
constexpr unsigned kHeartbeatSeconds = 1;

}  // namespace

Agent::Agent()
    : commands_([this](const wire::AgentMessage& message) { transport_.Send(message); }),
      runner_([this](const wire::AgentMessage& message) { transport_.Send(message); },
              kCgroupRoot) {}

void Agent::Report(const absl::Status& problem) {
  transport_.Send(wire::Error{.layer = "agent", .text = std::string(problem.message())});
  // The console as well: the wire may be what is broken.
  fprintf(stderr, "stasis-agent: %s\n", std::string(problem.message()).c_str());
}

void Agent::Run() {
  for (const absl::Status& problem : MountAll()) Report(problem);
  for (const absl::Status& problem : LoadModules(kModuleList)) Report(problem);
  sigset_t children;
  sigemptyset(&children);
  sigaddset(&children, SIGCHLD);
  sigprocmask(SIG_BLOCK, &children, nullptr);
  signal(SIGPIPE, SIG_IGN);
  signal_fd_ = signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK);

  hello_ = CollectHello("");
  FindTransport();
  absl::Status status = MakeThreadRealTime(kAgentRtPriority);
  if (!status.ok()) Report(status);
  topology_ = CollectTopology("");
  transport_.Send(topology_);
  StartHeartbeat();
  StartSymbolScan();
  Loop();
}

bool Agent::TryVirtio() {
  auto port = FindVirtioPort("", wire::kPortName);
  if (!port.ok()) return false;
  hello_.transport = "virtio";
  hello_.uptime_ns = BootNs();
  return transport_.Open(*port, hello_).ok();
}

bool Agent::TrySerial() {
  hello_.transport = "serial";
  hello_.uptime_ns = BootNs();
  on_serial_ = transport_.Open(kSerialDevice, hello_).ok();
  return on_serial_;
}

void Agent::FindTransport() {
  const uint64_t deadline = MonotonicNs() + kVirtioWaitNs;
  while (!TryVirtio()) {
    if (MonotonicNs() < deadline) {
      usleep(kVirtioPollUs);
      continue;
    }
    if (TrySerial()) return;
    Report(absl::NotFoundError(absl::StrCat("no way to the host: no virtio port called ",
                                            wire::kPortName, " and no working ", kSerialDevice)));
    return;
  }
}

void Agent::CheckForVirtio() {
  if (transport_.is_open() && !on_serial_) return;
  const uint64_t now = MonotonicNs();
  if (now < next_virtio_check_ns_) return;
  next_virtio_check_ns_ = now + kVirtioCheckPeriodNs;
  if (!TryVirtio()) return;
  on_serial_ = false;
  transport_.Send(topology_);
}

void Agent::SendHeartbeat() {
  transport_.Send(wire::Heartbeat{.seq = ++heartbeats_, .uptime_ns = BootNs()});
}

void Agent::StartHeartbeat() {
  heartbeat_ = std::thread([this] {
    MakeThreadRealTime(kAgentRtPriority).IgnoreError();  // the main thread has reported it
    while (true) {
      SendHeartbeat();
      sleep(kHeartbeatSeconds);
    }
  });
}

void Agent::StartSymbolScan() {
  symbol_scan_ = std::thread([this] { transport_.Send(CollectSymbols("")); });
}

void Agent::Loop() {
  while (true) {
    CheckForVirtio();
    std::vector<pollfd> fds = {{.fd = signal_fd_, .events = POLLIN},
                               {.fd = runner_.timer_fd(), .events = POLLIN}};
    const bool listen =
        transport_.is_open() && MonotonicNs() >= transport_retry_ns_ && !commands_.InputIsFull();
    fds.push_back({.fd = listen ? transport_.fd() : -1, .events = POLLIN});
    commands_.AddPollFds(&fds);
    runner_.AddPollFds(&fds);
    const bool waiting_for_wire = !listen || on_serial_;
    if (poll(fds.data(), fds.size(), waiting_for_wire ? 100 : -1) <= 0) continue;
    if (fds[1].revents != 0) runner_.OnTimer();
    commands_.HandleEvents({fds.begin() + 3, fds.end()});
    runner_.HandleEvents({fds.begin() + 3, fds.end()});
    if (fds[0].revents != 0) Reap();
    if (fds[2].revents != 0) {
      bool closed = false;
      for (const wire::HostMessage& message : transport_.Receive(&closed)) Handle(message);
      // Nobody at the host's end for the moment; poll would return at once again and again.
      if (closed) transport_retry_ns_ = MonotonicNs() + kClosedRetryNs;
    }
  }
}

void Agent::Reap() {
  signalfd_siginfo info;
  while (read(signal_fd_, &info, sizeof(info)) == sizeof(info)) {
  }
  // Orphans of anybody become PID 1's children: all are reaped, some are somebody's.
  int wait_status;
  pid_t pid;
  while ((pid = waitpid(-1, &wait_status, WNOHANG)) > 0) {
    if (!commands_.OnChildExit(pid, wait_status)) runner_.OnChildExit(pid, wait_status);
  }
}

void Agent::Handle(const wire::HostMessage& message) {
  std::visit([this](const auto& body) { OnMessage(body); }, message);
}

void Agent::OnMessage(const wire::RunScenario& run) {
  // A scan that is still going on would be load that the scenario does not name.
  if (symbol_scan_.joinable()) symbol_scan_.join();
  runner_.Start(run.scenario, GroupsOf(topology_));
}

void Agent::OnMessage(const wire::Shutdown& shutdown) {
  runner_.Stop();
  const wire::ShutdownHow how = ResolveEnd(shutdown.how, hello_.cmdline);
  transport_.Send(wire::Goodbye{.how = fields::NameOf(how)});
  transport_.Drain();
  EndMachine(how);
  Report(absl::InternalError(
      absl::StrCat("the kernel refuses to end the machine by ", fields::NameOf(how))));
}

}  // namespace stasis::agent
