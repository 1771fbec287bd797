// Session: the one poll loop between this process's terminal and streams and the emulated host.
#ifndef STASIS_TOOLS_NESTED_SESSION_H_
#define STASIS_TOOLS_NESTED_SESSION_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "tools/nested/protocol.h"

namespace stasis::nested {

// The ends that the loop works on. All stay the caller's.
struct SessionFds {
  int control = -1;  // to init: non-blocking sockets
  int in = -1;
  int out = -1;
  int err = -1;
  int console = -1;
  int ended = -1;     // readable when the emulator's process has ended
  int signals = -1;   // a byte per signal that reached this process
  int stdin_fd = -1;  // this process's own; -1 or not to be read
  int stdout_fd = -1;
  int stderr_fd = -1;
};

struct SessionLimits {
  absl::Duration time = absl::InfiniteDuration();
  absl::Duration silence = absl::Seconds(30);
  absl::Duration boot = absl::Seconds(120);
  absl::Duration termination = absl::Seconds(5);  // from SIGTERM or SIGHUP to the end
};

enum class SessionEnd {
  kExited,       // the program ended; exit_code is its own
  kInterrupted,  // a signal ended the session; exit_code is 128 + signal
  kFailed,       // init said what it could not do: `reason`
  kHung,         // no proof of life
  kDied,         // the emulator's process ended before the program
  kTimeLimit,
};

struct SessionReport {
  SessionEnd end = SessionEnd::kExited;
  int exit_code = 0;
  std::string reason;
  std::string host_kernel;
  std::string console;  // the last of the emulated host's console
  absl::Duration start_up;
  absl::Duration longest_silence;
  uint64_t beats = 0;
  uint64_t bytes_in = 0;   // consumed from stdin
  uint64_t bytes_out = 0;  // passed on to stdout and stderr
};

// One buffer in one direction between a descriptor of this process and a channel.
class Stream {
 public:
  Stream(int from, int to) : from_(from), to_(to) {}

  int from() const { return from_; }
  int to() const { return to_; }
  bool wants_read() const { return from_ >= 0 && buffer_.empty(); }
  bool wants_write() const { return !buffer_.empty(); }
  bool broken() const { return broken_; }  // the reader has gone (EPIPE); bytes are dropped
  uint64_t read_bytes() const { return read_; }
  uint64_t done_bytes() const { return done_; }
  void OnReadable();
  void OnWritable();

 private:
  int from_;
  int to_;
  std::string buffer_;
  bool broken_ = false;
  uint64_t read_ = 0;
  uint64_t done_ = 0;
};

// How often the emulated host is sent an interrupt from outside while the program runs.
//
// Seen in an emulated host (QEMU 7.2) that stood still: in user mode with interrupts on, timer
// vector pending in the LAPIC's IRR, nothing in service, and never taken. So QEMU must have lost
// the mark that its CPU has an interrupt to take; how is not proven (SVM emulation and devices
// change that mark on two threads). Another interrupt should make it look at the LAPIC again, and
// one that comes regularly end such a standstill. How often it does has not been measured.
inline constexpr absl::Duration kNudgePeriod = absl::Milliseconds(200);

// Runs on the caller's thread until the program inside, the emulated host or the user ends it.
// Neither kills nor waits for the emulator. `start` is when the clock of start_up began.
class Session {
 public:
  Session(const SessionFds& fds, const SessionLimits& limits, absl::Time start);
  SessionReport Run();

 private:
  void Step();
  void ReadControl();
  void ReadConsole();
  void ReadSignals();
  void Handle(const ControlMessage& message);
  void OnSignal(int signal);
  void SendWindow();
  void AfterStreams();
  void Nudge(absl::Time now);
  void CheckLimits(absl::Time now);
  absl::Time NextDeadline() const;
  void Send(const ControlMessage& message);
  void End(SessionEnd end, std::string reason);

  const SessionFds fds_;
  const SessionLimits limits_;
  const absl::Time start_;
  Stream in_, out_, err_;
  LineReader lines_;
  SessionReport report_;
  bool ended_ = false;
  bool greeted_ = false;
  bool started_ = false;
  bool stdin_ended_ = false;
  bool process_ended_ = false;
  bool broken_told_ = false;
  bool exit_known_ = false;  // exit_code, expected_out_ and expected_err_ are valid
  uint64_t expected_out_ = 0;
  uint64_t expected_err_ = 0;
  int signals_seen_ = 0;
  int ending_signal_ = 0;
  absl::Time termination_deadline_ = absl::InfiniteFuture();
  absl::Time last_life_;
  absl::Time next_nudge_ = absl::InfinitePast();
};

}  // namespace stasis::nested

#endif  // STASIS_TOOLS_NESTED_SESSION_H_
