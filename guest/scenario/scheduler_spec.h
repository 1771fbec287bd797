// SchedulerSpec: the scheduler that a scenario runs under, and what is measured of it.
#ifndef STASIS_GUEST_SCENARIO_SCHEDULER_SPEC_H_
#define STASIS_GUEST_SCENARIO_SCHEDULER_SPEC_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "guest/json/fields.h"

namespace stasis {

// A program that attaches a sched_ext scheduler and stays for as long as it should be attached.
struct SchedulerSpec {
  // One of both: a file of the host, or the name of one that tools/schedulers/build has made for
  // the kernel in use.
  std::string path;
  std::string name;
  std::vector<std::string> args;
  std::string ops;              // what the kernel must call it (root/ops); empty: anything
  absl::Duration attach_limit;  // zero: the host's default
  std::string program;          // its path in the guest; filled in by the host

  template <typename V, typename Self>
  static void VisitFields(V& v, Self& self) {
    v("path", self.path);
    v("name", self.name);
    v("args", self.args);
    v("ops", self.ops);
    v("attach_limit_ns", self.attach_limit);
    v("program", self.program);
  }
};

// "scx_simple -f", for people.
std::string CommandOf(const SchedulerSpec& spec);

// How a scheduler ended without being told to. The names are what should_fail may say.
enum class SchedulerEndKind {
  kStall,         // the kernel: "runnable task stall"
  kBpfError,      // the kernel: "scx_bpf_error", the scheduler gave up itself
  kRuntimeError,  // the kernel: "runtime error", the scheduler did what it must not do
  kSysrq,         // the kernel: "disabled by sysrq-S"
  kUnregistered,  // the kernel: "unregistered from ...", while its program was still there
  kKernel,        // the kernel, by a reason that this version does not know
  kExited,        // its program ended first
  kNotAttached,   // its program runs, and the kernel did not show it within the limit
  kReplaced,      // the kernel shows another scheduler
};
absl::Span<const fields::EnumName<SchedulerEndKind>> EnumNames(SchedulerEndKind);

struct SchedulerEnd {
  SchedulerEndKind kind = SchedulerEndKind::kExited;
  bool attached = false;    // it had been
  uint64_t at_ns = 0;       // CLOCK_MONOTONIC, when that was seen
  std::string reason;       // the kernel's words: "runnable task stall"
  std::string message;      // the kernel's words: "cpu_spin[140] failed to run for 2.048s"
  std::string debug_dump;   // the kernel's, as the program printed it
  std::string state;        // of sched_ext when the end was seen
  bool running = false;     // its program had to be killed
  int32_t exit_code = 0;    // of its program
  int32_t exit_signal = 0;  // of its program
  std::string error;        // its program could not be started
  std::string last_line;    // of its stderr, else its stdout

  template <typename V, typename Self>
  static void VisitFields(V& v, Self& self) {
    v("kind", self.kind);
    v("attached", self.attached);
    v("at_ns", self.at_ns);
    v("reason", self.reason);
    v("message", self.message);
    v("debug_dump", self.debug_dump);
    v("state", self.state);
    v("running", self.running);
    v("exit_code", self.exit_code);
    v("exit_signal", self.exit_signal);
    v("error", self.error);
    v("last_line", self.last_line);
  }
};

// Consecutive samples that showed the same.
struct SchedulerSpan {
  uint64_t from_ns = 0;  // first sample
  uint64_t to_ns = 0;    // last sample
  uint64_t samples = 0;
  std::string state;       // of /sys/kernel/sched_ext
  std::string ops;         // empty: none
  std::string enable_seq;  // counts the kernel's attachments; empty on kernels without it
  bool in_run = false;     // workers were measured
  bool switching = false;  // it was being switched, as the scenario says, or restarted

  template <typename V, typename Self>
  static void VisitFields(V& v, Self& self) {
    v("from_ns", self.from_ns);
    v("to_ns", self.to_ns);
    v("samples", self.samples);
    v("state", self.state);
    v("ops", self.ops);
    v("enable_seq", self.enable_seq);
    v("in_run", self.in_run);
    v("switching", self.switching);
  }
};

// Times are the guest's CLOCK_MONOTONIC in ns.
struct SchedulerMeasurement {
  std::string command;  // of the one that ran last
  std::string ops;      // what the kernel calls that
  uint64_t started_ns = 0;
  uint64_t attached_ns = 0;  // 0: never
  uint64_t switches = 0;     // that were asked for, restarts included
  uint64_t restarts = 0;     // by its own program, as a CPU came or went
  // Samples during the run: all, those of a switch or restart, those that showed it attached.
  uint64_t samples = 0;
  uint64_t switching_samples = 0;
  uint64_t attached_samples = 0;
  bool attached_last = false;  // by the last sample; false in the middle of a switch or restart
  std::vector<SchedulerSpan> spans;  // in order; at most kMaxSpans
  std::map<std::string, uint64_t>
      events;                       // root/events at the last sample, where the kernel has it
  std::optional<SchedulerEnd> end;  // it ended by itself

  static constexpr size_t kMaxSpans = 1000;

  template <typename V, typename Self>
  static void VisitFields(V& v, Self& self) {
    v("command", self.command);
    v("ops", self.ops);
    v("started_ns", self.started_ns);
    v("attached_ns", self.attached_ns);
    v("switches", self.switches);
    v("restarts", self.restarts);
    v("samples", self.samples);
    v("switching_samples", self.switching_samples);
    v("attached_samples", self.attached_samples);
    v("attached_last", self.attached_last);
    v("spans", self.spans);
    v("events", self.events);
    v("end", self.end);
  }
};

// What a kernel's reason ("runnable task stall") means.
SchedulerEndKind KindOfReason(absl::string_view reason);

// What the loaders of the kernel's tree (and those that use its headers) print on stderr at the
// end.
struct LoaderReport {
  std::string reason;  // of the last "EXIT: reason (message)" line
  std::string message;
  std::string debug_dump;  // what stands between "DEBUG DUMP" and the closing line of '='
};
LoaderReport ReadLoaderReport(absl::string_view text);

}  // namespace stasis

#endif  // STASIS_GUEST_SCENARIO_SCHEDULER_SPEC_H_
