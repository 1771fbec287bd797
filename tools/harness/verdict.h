// Verdict: how a run ended, for people, exit codes and JSON.
#ifndef STASIS_TOOLS_HARNESS_VERDICT_H_
#define STASIS_TOOLS_HARNESS_VERDICT_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace stasis {

enum class Verdict {
  kPass,          // every expectation held, with evidence
  kFail,          // an expectation did not hold, or the guest stalled, crashed or hung
  kUsage,         // bad arguments or a bad scenario file
  kError,         // the host or harness could not do it
  kInconclusive,  // ran, but the host was too noisy or the kernel lacks a feature
};

// Which part of the stack a verdict other than pass speaks of.
enum class Layer { kNone, kHost, kBoot, kAgent, kSchedulerLoad, kScheduler, kWorkload };

// Exit code of a process that was ended by Ctrl-C, as shells have it (128 + SIGINT).
inline constexpr int kExitInterrupted = 130;

int ExitCode(Verdict verdict);                   // 0..4 in the order above
absl::string_view VerdictName(Verdict verdict);  // "pass", ...
absl::string_view LayerName(Layer layer);        // "host", "scheduler load", ...
// The layer of that name; kNone for any other text (it may come from the guest).
Layer LayerByName(absl::string_view name);

struct Finding {
  Verdict verdict = Verdict::kError;
  Layer layer = Layer::kNone;
  std::string what;          // one line
  std::string to_do;         // one line, may be empty
  bool interrupted = false;  // by a signal to this process: exit code 130

  int exit_code() const { return interrupted ? kExitInterrupted : ExitCode(verdict); }
};

// "FAIL: scheduler: left/0 went 3.1s without the CPU (limit 2s)", the first line of a report.
std::string FirstLine(const Finding& finding);

// A finding for a status of the harness itself: InvalidArgument is kUsage, the rest kError.
Finding FindingFromStatus(Layer layer, const absl::Status& status);

// `text` on one line: control characters and newlines become spaces, `most` bytes at most.
std::string OneLine(absl::string_view text, size_t most = 500);

}  // namespace stasis

#endif  // STASIS_TOOLS_HARNESS_VERDICT_H_
