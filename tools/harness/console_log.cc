#include "tools/harness/console_log.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_split.h"

namespace stasis {
namespace {

// "<3>[    1.234567][    T1] text" → "text".
absl::string_view WithoutPrefix(absl::string_view line) {
  line = absl::StripLeadingAsciiWhitespace(line);
  if (absl::StartsWith(line, "<") && line.size() > 2 && line[2] == '>') line.remove_prefix(3);
  while (absl::StartsWith(line, "[")) {
    const size_t end = line.find(']');
    if (end == absl::string_view::npos) break;
    line = absl::StripLeadingAsciiWhitespace(line.substr(end + 1));
  }
  return line;
}

std::string WithoutControls(absl::string_view line) {
  std::string out;
  for (size_t i = 0; i < line.size(); ++i) {
    const unsigned char c = line[i];
    if (c == 0x1b && i + 1 < line.size() && line[i + 1] == '[') {
      // A CSI sequence ends with a byte in @..~ (ECMA-48 §5.4).
      i += 2;
      while (i < line.size() && (line[i] < '@' || line[i] > '~')) ++i;
      continue;
    }
    if (c >= 0x20 && c != 0x7f) out.push_back(static_cast<char>(c));
    if (c == '\t') out.push_back(' ');
  }
  return out;
}

}  // namespace

absl::string_view ConsoleAlarmName(ConsoleAlarmKind kind) {
  switch (kind) {
    case ConsoleAlarmKind::kPanic:
      return "kernel panic";
    case ConsoleAlarmKind::kBug:
      return "kernel BUG";
    case ConsoleAlarmKind::kOops:
      return "kernel oops";
    case ConsoleAlarmKind::kSoftLockup:
      return "soft lockup";
    case ConsoleAlarmKind::kRcuStall:
      return "RCU stall";
    case ConsoleAlarmKind::kHungTask:
      return "hung task";
  }
  return "unknown";
}

std::optional<ConsoleAlarm> FindConsoleAlarm(absl::string_view line) {
  const std::string clean = WithoutControls(line);
  const absl::string_view text = WithoutPrefix(clean);
  auto alarm = [&](ConsoleAlarmKind kind) { return ConsoleAlarm{kind, std::string(text)}; };
  if (absl::StartsWith(text, "Kernel panic - not syncing")) return alarm(ConsoleAlarmKind::kPanic);
  if (absl::StartsWith(text, "watchdog: BUG: soft lockup") ||
      absl::StartsWith(text, "BUG: soft lockup") ||
      absl::StartsWith(text, "watchdog: Watchdog detected hard LOCKUP")) {
    return alarm(ConsoleAlarmKind::kSoftLockup);
  }
  if (absl::StartsWith(text, "rcu: INFO: ") && absl::StrContains(text, "stall")) {
    return alarm(ConsoleAlarmKind::kRcuStall);
  }
  if (absl::StartsWith(text, "INFO: task ") && absl::StrContains(text, " blocked for more than ")) {
    return alarm(ConsoleAlarmKind::kHungTask);
  }
  if (absl::StartsWith(text, "Oops: ") || absl::StartsWith(text, "general protection fault")) {
    return alarm(ConsoleAlarmKind::kOops);
  }
  if (absl::StartsWith(text, "BUG: ") || absl::StartsWith(text, "kernel BUG at ")) {
    return alarm(ConsoleAlarmKind::kBug);
  }
  return std::nullopt;
}

void ConsoleLog::Append(size_t source, absl::string_view bytes) {
  if (bytes.empty()) return;
  if (tee_) tee_(bytes);
  total_bytes_ += bytes.size();
  text_.append(bytes.data(), bytes.size());
  if (text_.size() > 2 * limit_) text_.erase(0, text_.size() - limit_);

  if (unfinished_.size() <= source) unfinished_.resize(source + 1);
  for (char c : bytes) {
    std::string& line = unfinished_[source];
    if (c == '\n') {
      EndLine(&line);
    } else if (line.size() < kMaxLine) {
      line.push_back(c);
    }
  }
}

void ConsoleLog::EndLine(std::string* line) {
  std::optional<ConsoleAlarm> alarm = FindConsoleAlarm(*line);
  line->clear();
  if (!alarm.has_value() || alarms_.size() >= kMaxAlarms) return;
  alarms_.push_back(*alarm);
  if (on_alarm_) on_alarm_(alarms_.back());
}

std::string ConsoleLog::Text() const {
  return text_.size() <= limit_ ? text_ : text_.substr(text_.size() - limit_);
}

std::vector<std::string> ConsoleLog::LastLines(size_t count) const {
  std::vector<std::string> lines;
  for (absl::string_view line : absl::StrSplit(text_, '\n')) {
    std::string clean = WithoutControls(line);
    if (!absl::StripAsciiWhitespace(clean).empty()) lines.push_back(std::move(clean));
  }
  if (lines.size() > count) lines.erase(lines.begin(), lines.end() - count);
  return lines;
}

const ConsoleAlarm* ConsoleLog::Find(ConsoleAlarmKind kind) const {
  auto it = std::find_if(alarms_.begin(), alarms_.end(),
                         [kind](const ConsoleAlarm& alarm) { return alarm.kind == kind; });
  return it == alarms_.end() ? nullptr : &*it;
}

}  // namespace stasis
