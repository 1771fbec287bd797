#include "tools/harness/terminal.h"

#include <errno.h>
#include <sys/ioctl.h>

namespace stasis {

std::optional<WindowSize> TerminalSize(int fd) {
  winsize size = {};
  if (ioctl(fd, TIOCGWINSZ, &size) != 0 || size.ws_row == 0 || size.ws_col == 0) {
    return std::nullopt;
  }
  return WindowSize{size.ws_row, size.ws_col};
}

absl::StatusOr<std::unique_ptr<RawTerminal>> RawTerminal::Enter(int fd) {
  termios saved;
  if (tcgetattr(fd, &saved) != 0) return absl::ErrnoToStatus(errno, "tcgetattr");
  termios raw = saved;
  cfmakeraw(&raw);
  // Our own lines, and those of the serial console, end in a bare newline.
  raw.c_oflag |= OPOST | ONLCR;
  if (tcsetattr(fd, TCSADRAIN, &raw) != 0) return absl::ErrnoToStatus(errno, "tcsetattr");
  return std::unique_ptr<RawTerminal>(new RawTerminal(fd, saved));
}

RawTerminal::~RawTerminal() { tcsetattr(fd_, TCSADRAIN, &saved_); }

bool EscapeKeys::Feed(absl::string_view typed, std::string* guest) {
  constexpr char kCtrlA = 1;
  for (char c : typed) {
    if (!prefix_) {
      prefix_ = c == kCtrlA;
      if (!prefix_) guest->push_back(c);
      continue;
    }
    prefix_ = false;
    if (c == 'x') return true;
    guest->push_back(kCtrlA);
    if (c != 'a') guest->push_back(c);
  }
  return false;
}

}  // namespace stasis
