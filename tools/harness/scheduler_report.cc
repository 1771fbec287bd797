#include "tools/harness/scheduler_report.h"

#include <algorithm>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "tools/harness/verdict.h"

namespace stasis {
namespace {

constexpr size_t kDumpLines = 40;
constexpr size_t kOutputLines = 15;
constexpr size_t kMostOutput = 1 << 20;  // of a guest that sends more than it should

// Lines that are not empty, without control characters.
std::vector<std::string> LinesOf(absl::string_view text) {
  std::vector<std::string> lines;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    if (absl::StripAsciiWhitespace(line).empty()) continue;
    // OneLine strips, and the dump's indentation says what belongs to what.
    const size_t indent = std::min<size_t>(line.find_first_not_of(' '), 40);
    lines.push_back(absl::StrCat(std::string(indent, ' '), OneLine(line, 200)));
  }
  return lines;
}

// Between "DEBUG DUMP" and its closing rule.
std::string WithoutDebugDump(absl::string_view text) {
  const size_t from = text.find("DEBUG DUMP\n");
  if (from == absl::string_view::npos) return std::string(text);
  size_t to = text.find("\n==========", from);
  if (to != absl::string_view::npos) to = text.find("\n==========", to + 1);
  if (to != absl::string_view::npos) to = text.find('\n', to + 1);
  return absl::StrCat(text.substr(0, from), "(the kernel's debug dump)\n",
                      to == absl::string_view::npos ? "" : text.substr(to));
}

}  // namespace

void AddOutput(const wire::SchedulerOutput& output, SchedulerReport* report) {
  std::string& text = report->output[output.stream == 2 ? 1 : 0];
  if (text.size() >= kMostOutput) return;
  if (output.omitted > 0) {
    absl::StrAppend(&text, "\n[", output.omitted, " bytes left out]\n");
  }
  text.append(output.data.data, 0, kMostOutput);
}

std::string SchedulerLine(const SchedulerReport& report, const SchedulerMeasurement* measured) {
  std::string line = absl::StrCat("scheduler ", report.command);
  if (measured == nullptr) {
    absl::StrAppend(&line, report.last_seen.empty() ? ": never seen" : ": last seen ",
                    report.last_seen);
  } else if (measured->attached_ns == 0) {
    absl::StrAppend(&line, ": never attached");
  } else {
    absl::StrAppendFormat(&line, ": ops %s, attached after %.2f s, seen in %d of %d samples",
                          measured->ops,
                          static_cast<double>(measured->attached_ns - measured->started_ns) / 1e9,
                          measured->attached_samples, measured->samples);
    if (measured->switches + measured->restarts > 0) {
      absl::StrAppend(&line, ", ", measured->switching_samples, " while switching (",
                      measured->switches, ") or restarted by CPU hotplug (", measured->restarts,
                      ")");
    }
  }
  return absl::StrCat(OneLine(line), "\n");
}

std::string DebugDumpText(const SchedulerMeasurement& measured) {
  if (!measured.end.has_value()) return "";
  const std::vector<std::string> lines = LinesOf(measured.end->debug_dump);
  if (lines.empty()) return "";
  std::string text = "\nthe kernel's debug dump:\n";
  for (size_t i = 0; i < lines.size() && i < kDumpLines; ++i) {
    absl::StrAppend(&text, "  | ", lines[i], "\n");
  }
  if (lines.size() > kDumpLines) {
    absl::StrAppend(&text, "  ... and ", lines.size() - kDumpLines,
                    " more lines (--json has all)\n");
  }
  return text;
}

std::string SchedulerOutputText(const SchedulerReport& report) {
  std::string text;
  const char* const kNames[] = {"stdout", "stderr"};
  for (int stream = 0; stream < 2; ++stream) {
    const std::vector<std::string> lines = LinesOf(WithoutDebugDump(report.output[stream]));
    if (lines.empty()) continue;
    absl::StrAppend(&text, "\nlast lines of the scheduler's ", kNames[stream], ":\n");
    for (size_t i = lines.size() - std::min(lines.size(), kOutputLines); i < lines.size(); ++i) {
      absl::StrAppend(&text, "  | ", lines[i], "\n");
    }
  }
  return text;
}

nlohmann::json SchedulerJson(const SchedulerReport& report, const SchedulerMeasurement* measured) {
  nlohmann::json json = measured == nullptr ? nlohmann::json::object() : fields::ToJson(*measured);
  json["command"] = report.command;
  json["last_seen"] = report.last_seen;
  json["stdout"] = report.output[0];
  json["stderr"] = report.output[1];
  return json;
}

}  // namespace stasis
