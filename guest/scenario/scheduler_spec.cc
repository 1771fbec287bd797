#include "guest/scenario/scheduler_spec.h"

#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace stasis {

absl::Span<const fields::EnumName<SchedulerEndKind>> EnumNames(SchedulerEndKind) {
  static constexpr fields::EnumName<SchedulerEndKind> kNames[] = {
      {SchedulerEndKind::kStall, "stall"},
      {SchedulerEndKind::kBpfError, "bpf_error"},
      {SchedulerEndKind::kRuntimeError, "runtime_error"},
      {SchedulerEndKind::kSysrq, "sysrq"},
      {SchedulerEndKind::kUnregistered, "unregistered"},
      {SchedulerEndKind::kKernel, "kernel"},
      {SchedulerEndKind::kExited, "exited"},
      {SchedulerEndKind::kNotAttached, "not_attached"},
      {SchedulerEndKind::kReplaced, "replaced"},
  };
  return kNames;
}

std::string CommandOf(const SchedulerSpec& spec) {
  absl::string_view name = !spec.name.empty() ? spec.name : spec.path;
  if (const size_t slash = name.rfind('/'); slash != absl::string_view::npos) {
    name.remove_prefix(slash + 1);
  }
  std::string command(name);
  for (const std::string& arg : spec.args) absl::StrAppend(&command, " ", arg);
  return command;
}

// The kernel's scx_exit_reason (kernel/sched/ext.c), which has no other form in user space.
SchedulerEndKind KindOfReason(absl::string_view reason) {
  if (reason == "runnable task stall") return SchedulerEndKind::kStall;
  if (reason == "scx_bpf_error") return SchedulerEndKind::kBpfError;
  if (reason == "runtime error") return SchedulerEndKind::kRuntimeError;
  if (reason == "disabled by sysrq-S") return SchedulerEndKind::kSysrq;
  if (absl::StartsWith(reason, "unregistered from ")) return SchedulerEndKind::kUnregistered;
  return SchedulerEndKind::kKernel;
}

LoaderReport ReadLoaderReport(absl::string_view text) {
  LoaderReport report;
  std::vector<absl::string_view> dump;
  enum { kOutside, kTitle, kInside } place = kOutside;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    const bool rule = absl::StartsWith(line, "==========");
    if (place == kTitle && rule) {
      place = kInside;
    } else if (place == kInside && rule) {
      place = kOutside;
    } else if (place == kInside) {
      dump.push_back(line);
    } else if (line == "DEBUG DUMP") {
      place = kTitle;
      dump.clear();
    } else if (absl::ConsumePrefix(&line, "EXIT: ")) {
      const size_t open = line.find(" (");
      report.reason = std::string(absl::StripAsciiWhitespace(line.substr(0, open)));
      report.message.clear();
      if (open == absl::string_view::npos) continue;
      line.remove_prefix(open + 2);
      line = absl::StripTrailingAsciiWhitespace(line);
      absl::ConsumeSuffix(&line, ")");
      report.message = std::string(line);
    }
  }
  while (!dump.empty() && dump.front().empty()) dump.erase(dump.begin());
  while (!dump.empty() && dump.back().empty()) dump.pop_back();
  for (absl::string_view line : dump) absl::StrAppend(&report.debug_dump, line, "\n");
  return report;
}

}  // namespace stasis
