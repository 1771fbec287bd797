#include "tools/harness/progress.h"

#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "tools/harness/terminal.h"

namespace stasis {
namespace {

constexpr absl::string_view kEraseLine = "\r\x1b[K";

}  // namespace

ProgressLine::Style ProgressLine::StyleFor(int fd) {
  return isatty(fd) ? Style::kTerminal : Style::kLines;
}

void ProgressLine::Write(absl::string_view bytes) const {
  [[maybe_unused]] ssize_t put = write(fd_, bytes.data(), bytes.size());
}

void ProgressLine::Stage(absl::string_view text) {
  stage_ = std::string(text);
  detail_.clear();
  if (style_ == Style::kLines) Write(absl::StrCat("stasis: ", stage_, "\n"));
  Draw();
}

void ProgressLine::Detail(absl::string_view text) {
  detail_ = std::string(text);
  Draw();
}

void ProgressLine::Draw() {
  if (style_ != Style::kTerminal) return;
  std::string line = absl::StrCat("stasis: ", stage_, detail_.empty() ? "" : ": ", detail_);
  // A line that wraps could not be erased.
  const size_t columns = TerminalSize(fd_).value_or(WindowSize{24, 80}).columns;
  if (line.size() >= columns) line.resize(columns - 1);
  Write(absl::StrCat(kEraseLine, line));
  drawn_ = true;
}

void ProgressLine::Line(absl::string_view text) {
  const bool redraw = drawn_;
  Clear();
  Write(absl::StrCat("stasis: ", text, "\n"));
  if (redraw) Draw();
}

void ProgressLine::Clear() {
  if (!drawn_) return;
  Write(kEraseLine);
  drawn_ = false;
}

}  // namespace stasis
