// What a call borrows from the process: signal handlers and the terminal's mode.
#ifndef STASIS_TOOLS_NESTED_TERMINAL_H_
#define STASIS_TOOLS_NESTED_TERMINAL_H_

#include <signal.h>
#include <termios.h>

#include <vector>

#include "tools/nested/protocol.h"

namespace stasis::nested {

// Turns SIGINT, SIGTERM, SIGQUIT, SIGHUP and SIGWINCH of the process, whichever thread gets them,
// into bytes on a pipe, and ignores SIGPIPE; the destructor puts everything back. One at a time.
class SignalPipe {
 public:
  SignalPipe();
  ~SignalPipe();
  SignalPipe(const SignalPipe&) = delete;
  SignalPipe& operator=(const SignalPipe&) = delete;
  int fd() const { return read_fd_; }

 private:
  int read_fd_ = -1;
  std::vector<std::pair<int, struct sigaction>> saved_;
};

// Raw mode of a terminal as long as it lives.
class RawTerminal {
 public:
  explicit RawTerminal(int fd);  // -1: none
  ~RawTerminal();
  RawTerminal(const RawTerminal&) = delete;
  RawTerminal& operator=(const RawTerminal&) = delete;

 private:
  int fd_;
  termios saved_ = {};
};

WindowSize WindowOf(int fd);

}  // namespace stasis::nested

#endif  // STASIS_TOOLS_NESTED_TERMINAL_H_
