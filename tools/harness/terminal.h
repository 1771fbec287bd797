// The user's terminal: raw mode, its size, and the keys that leave a console.
#ifndef STASIS_TOOLS_HARNESS_TERMINAL_H_
#define STASIS_TOOLS_HARNESS_TERMINAL_H_

#include <termios.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace stasis {

struct WindowSize {
  uint16_t rows = 0;
  uint16_t columns = 0;
};

// Nothing when `fd` is no terminal or has no size.
std::optional<WindowSize> TerminalSize(int fd);

// Puts a terminal into raw mode and back in the destructor.
class RawTerminal {
 public:
  // Error: errno of tcgetattr or tcsetattr (`fd` is no terminal).
  static absl::StatusOr<std::unique_ptr<RawTerminal>> Enter(int fd);
  ~RawTerminal();
  RawTerminal(const RawTerminal&) = delete;
  RawTerminal& operator=(const RawTerminal&) = delete;

 private:
  RawTerminal(int fd, const termios& saved) : fd_(fd), saved_(saved) {}
  const int fd_;
  const termios saved_;
};

// Watches typed bytes for Ctrl-A x (leave). Ctrl-A a sends one Ctrl-A; Ctrl-A and any other key
// send both.
class EscapeKeys {
 public:
  // Appends to `guest` what the guest is to get. True: leave; the rest is dropped.
  bool Feed(absl::string_view typed, std::string* guest);

 private:
  bool prefix_ = false;
};

}  // namespace stasis

#endif  // STASIS_TOOLS_HARNESS_TERMINAL_H_
