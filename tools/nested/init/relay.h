// Relay: carries bytes and messages between the virtio-serial ports and the program inside.
#ifndef STASIS_TOOLS_NESTED_INIT_RELAY_H_
#define STASIS_TOOLS_NESTED_INIT_RELAY_H_

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "tools/nested/protocol.h"

namespace stasis::nested {

// Writes all of `bytes` to a non-blocking descriptor, waiting as long as it takes. False: errno.
bool WriteAll(int fd, std::string_view bytes);

// One direction of one stream: at most one buffer in flight, so that a slow reader holds up the
// writer and nothing is lost.
class Pump {
 public:
  Pump(int from, int to) : from_(from), to_(to) {}

  bool open() const { return from_ >= 0; }
  int from() const { return from_; }
  int to() const { return to_; }
  bool wants_read() const { return from_ >= 0 && buffer_.empty(); }
  bool wants_write() const { return !buffer_.empty(); }
  uint64_t taken() const { return taken_; }
  uint64_t sent() const { return sent_; }

  void OnReadable();
  void OnWritable();
  // Nothing more comes; what is buffered is still written.
  void CloseFrom() { from_ = -1; }

 private:
  int from_;
  int to_;
  std::string buffer_;
  uint64_t taken_ = 0;  // bytes read
  uint64_t sent_ = 0;   // bytes written, or dropped because the reader has gone
};

struct Ports {
  int control = -1;
  int in = -1;
  int out = -1;
  int err = -1;
};

// The program, as the parent sees it.
struct Program {
  pid_t pid = -1;
  int in = -1;   // write end of its standard input, or the pty master
  int out = -1;  // read ends; -1 where the pty stands for it
  int err = -1;
  int terminal = -1;  // pty master, -1 without
};

struct RelayResult {
  int exit_code = 0;  // 128 + signal when a signal ended it, as a shell says it
  uint64_t stdout_bytes = 0;
  uint64_t stderr_bytes = 0;
};

// Returns when the program has ended and all that it wrote has been handed over. Every other
// process is killed once the program has ended. SIGCHLD must be blocked.
RelayResult RunRelay(const Ports& ports, const Program& program, const Order& order);

}  // namespace stasis::nested

#endif  // STASIS_TOOLS_NESTED_INIT_RELAY_H_
