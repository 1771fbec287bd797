// Agent: the main loop of PID 1.
#ifndef STASIS_GUEST_AGENT_AGENT_H_
#define STASIS_GUEST_AGENT_AGENT_H_

#include <poll.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "guest/agent/commands.h"
#include "guest/agent/runner.h"
#include "guest/agent/transport.h"
#include "guest/wire/messages.h"

namespace stasis::agent {

// Three threads: the main one (everything but the two others), the heartbeat, and for a moment the
// one that looks for symbols. The first two run at real-time priority, so that they get through
// whatever the tested scheduler does to the rest.
class Agent {
 public:
  Agent();

  // Never returns, as PID 1 must not.
  [[noreturn]] void Run();

 private:
  void FindTransport();
  bool TryVirtio();
  bool TrySerial();
  void CheckForVirtio();
  void StartHeartbeat();
  void StartSymbolScan();
  [[noreturn]] void Loop();
  void Reap();
  void Handle(const wire::HostMessage& message);
  void OnMessage(const wire::RunScenario& run);
  void OnMessage(const wire::Exec& exec) { commands_.Start(exec); }
  void OnMessage(const wire::ExecInput& input) { commands_.Input(input); }
  void OnMessage(const wire::ExecSignal& signal) { commands_.Signal(signal); }
  void OnMessage(const wire::Shell& shell) { commands_.Start(shell); }
  void OnMessage(const wire::Shutdown& shutdown);
  void OnMessage(const wire::Ping&) { SendHeartbeat(); }
  void SendHeartbeat();
  void Report(const absl::Status& problem);

  Transport transport_;
  wire::Hello hello_;
  wire::Topology topology_;
  Commands commands_;
  Runner runner_;
  int signal_fd_ = -1;
  bool on_serial_ = false;
  uint64_t next_virtio_check_ns_ = 0;
  uint64_t transport_retry_ns_ = 0;  // the host's end is closed: look again then
  std::atomic<uint64_t> heartbeats_{0};
  std::thread heartbeat_;
  std::thread symbol_scan_;
};

}  // namespace stasis::agent

#endif  // STASIS_GUEST_AGENT_AGENT_H_
