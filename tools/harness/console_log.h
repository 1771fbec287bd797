// ConsoleLog: what the guest wrote on its consoles, bounded, and the trouble that it names.
#ifndef STASIS_TOOLS_HARNESS_CONSOLE_LOG_H_
#define STASIS_TOOLS_HARNESS_CONSOLE_LOG_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace stasis {

// Trouble that a Linux kernel announces in words.
enum class ConsoleAlarmKind {
  kPanic,       // "Kernel panic - not syncing: ..."
  kBug,         // "BUG: ...", "kernel BUG at ..."
  kOops,        // "Oops: ...", "general protection fault"
  kSoftLockup,  // "watchdog: BUG: soft lockup - ..."
  kRcuStall,    // "rcu: INFO: ... detected stalls on CPUs/tasks"
  kHungTask,    // "INFO: task x:1 blocked for more than 120 seconds"
};

// "kernel panic", "soft lockup", ...
absl::string_view ConsoleAlarmName(ConsoleAlarmKind kind);

struct ConsoleAlarm {
  ConsoleAlarmKind kind;
  std::string line;  // as the kernel wrote it, without time stamp and control characters
};

// The alarm that `line` raises, if any. A line is one of the kernel's: optional "<level>" and
// "[  time]" in front. Text elsewhere in the line does not count, so that a program that prints the
// word "Oops" raises nothing.
std::optional<ConsoleAlarm> FindConsoleAlarm(absl::string_view line);

// Several consoles feed one log; each keeps its own unfinished line. One thread.
class ConsoleLog {
 public:
  static constexpr size_t kDefaultLimit = 256 * 1024;
  // Longer lines are cut for the alarms (not in the log): a guest may never write a newline.
  static constexpr size_t kMaxLine = 1024;
  static constexpr size_t kMaxAlarms = 64;

  explicit ConsoleLog(size_t limit = kDefaultLimit) : limit_(limit) {}

  // Is called with every byte as it arrives (--verbose).
  void set_tee(std::function<void(absl::string_view)> tee) { tee_ = std::move(tee); }
  void set_on_alarm(std::function<void(const ConsoleAlarm&)> on_alarm) {
    on_alarm_ = std::move(on_alarm);
  }

  // `source` counts the consoles from 0.
  void Append(size_t source, absl::string_view bytes);

  // The last bytes, at most the limit.
  std::string Text() const;
  // The last `count` lines that are not empty, without control characters.
  std::vector<std::string> LastLines(size_t count) const;
  uint64_t total_bytes() const { return total_bytes_; }

  // In order of arrival, the first kMaxAlarms.
  const std::vector<ConsoleAlarm>& alarms() const { return alarms_; }
  // The first alarm of that kind.
  const ConsoleAlarm* Find(ConsoleAlarmKind kind) const;

 private:
  void EndLine(std::string* line);

  const size_t limit_;
  std::function<void(absl::string_view)> tee_;
  std::function<void(const ConsoleAlarm&)> on_alarm_;
  std::string text_;  // up to twice the limit, so that cutting is rare
  uint64_t total_bytes_ = 0;
  std::vector<std::string> unfinished_;  // by source
  std::vector<ConsoleAlarm> alarms_;
};

}  // namespace stasis

#endif  // STASIS_TOOLS_HARNESS_CONSOLE_LOG_H_
