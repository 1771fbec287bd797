// Transport: the wire to the host, by the virtio-console port or the serial line.
#ifndef STASIS_GUEST_AGENT_TRANSPORT_H_
#define STASIS_GUEST_AGENT_TRANSPORT_H_

#include <deque>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "guest/agent/system.h"
#include "guest/wire/frame.h"
#include "guest/wire/messages.h"

namespace stasis::agent {

// The device of the virtio-console port called `name`, e.g. "/dev/vport0p1", as soon as the kernel
// shows it below <root>/sys/class/virtio-ports. Error: NotFound.
absl::StatusOr<std::string> FindVirtioPort(const std::string& root, const std::string& name);

// Send may be called from any thread, everything else from the main thread only. Writing blocks
// while the host does not read, so that a slow host slows the guest's output instead of losing it.
class Transport {
 public:
  Transport() = default;
  ~Transport();
  Transport(const Transport&) = delete;
  Transport& operator=(const Transport&) = delete;

  // Opens a device (raw mode when it is a terminal) and makes it the wire; an earlier one is left.
  // `hello` goes out first, then what was sent while there was no wire.
  // Errors: errno with the path.
  absl::Status Open(const std::string& path, const wire::Hello& hello);

  bool is_open() const { return fd_ >= 0; }
  int fd() const { return fd_; }  // for poll(2)

  // Kept, up to a bound, while there is no wire.
  void Send(const wire::AgentMessage& message);

  // Reads what is there (blocks if nothing is) and returns the messages it completes. Messages
  // that cannot be understood are answered by an Error. `closed` is set when the wire is gone.
  std::vector<wire::HostMessage> Receive(bool* closed);

  // Waits until a serial line has sent everything.
  void Drain();

 private:
  void WriteAll(const std::string& bytes);

  PiMutex mutex_;                  // writing: lines of several threads must not mix
  int fd_ = -1;                    // changed under mutex_, by the main thread
  std::deque<std::string> early_;  // under mutex_
  wire::Decoder decoder_;
};

}  // namespace stasis::agent

#endif  // STASIS_GUEST_AGENT_TRANSPORT_H_
