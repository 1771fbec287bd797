#include "tools/harness/time_line.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tools/harness/verdict.h"

namespace stasis {

std::string TimeLineText(const std::vector<StepMeasurement>& steps) {
  if (steps.empty()) return "";
  std::string text = absl::StrFormat("\n%9s %9s %9s  %s\n", "step at", "late by", "took", "did");
  for (const StepMeasurement& step : steps) {
    // Times of a guest: they need not make sense.
    const uint64_t late = step.began_ns - std::min(step.began_ns, step.planned_ns);
    const uint64_t took = step.ended_ns - std::min(step.ended_ns, step.began_ns);
    absl::StrAppendFormat(&text, "%7.3f s %6.1f ms %6.1f ms  %s\n", step.began_ns * 1e-9,
                          late * 1e-6, took * 1e-6, OneLine(step.what));
    if (!step.error.empty()) {
      absl::StrAppend(&text, std::string(33, ' '), "failed: ", OneLine(step.error), "\n");
    }
  }
  return text;
}

std::string StepLine(const StepMeasurement& step, size_t steps) {
  return absl::StrFormat("step %u of %u at %.3f s: %s%s", step.index + 1,
                         static_cast<unsigned>(steps), step.began_ns * 1e-9, OneLine(step.what),
                         step.error.empty() ? "" : absl::StrCat(" failed: ", OneLine(step.error)));
}

}  // namespace stasis
