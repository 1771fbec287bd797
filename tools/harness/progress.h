// ProgressLine: one updating line on a terminal, plain lines elsewhere.
#ifndef STASIS_TOOLS_HARNESS_PROGRESS_H_
#define STASIS_TOOLS_HARNESS_PROGRESS_H_

#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace stasis {

// Written to `fd` (stderr). On a terminal the line is rewritten and erased at the end; elsewhere
// each new stage is one line "stasis: ...", and changes within a stage are not shown. A write error
// is ignored. One thread.
class ProgressLine {
 public:
  enum class Style { kSilent, kLines, kTerminal };
  ProgressLine(int fd, Style style) : fd_(fd), style_(style) {}
  ~ProgressLine() { Clear(); }
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  // kTerminal when `fd` is one, else kLines.
  static Style StyleFor(int fd);

  // A new stage: "booting 6.12.9".
  void Stage(absl::string_view text);
  // More about the present stage: "3.2 of 10.0 s".
  void Detail(absl::string_view text);
  // A line that stays, above the updating one.
  void Line(absl::string_view text);
  // Erases the updating line.
  void Clear();

 private:
  void Write(absl::string_view bytes) const;
  void Draw();

  const int fd_;
  const Style style_;
  std::string stage_;
  std::string detail_;
  bool drawn_ = false;
};

}  // namespace stasis

#endif  // STASIS_TOOLS_HARNESS_PROGRESS_H_
