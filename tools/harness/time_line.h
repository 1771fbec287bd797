// The time line of a scenario's steps, for reports.
#ifndef STASIS_TOOLS_HARNESS_TIME_LINE_H_
#define STASIS_TOOLS_HARNESS_TIME_LINE_H_

#include <string>
#include <vector>

#include "guest/scenario/measurements.h"

namespace stasis {

// One line per step: when it was carried out, how late that was, how long it took, and what it did.
// "" without steps. Text from the guest is made harmless.
std::string TimeLineText(const std::vector<StepMeasurement>& steps);
// "step 1 of 2, 2.00 s: set_cpus ...", for a dump's time line.
std::string StepLine(const StepMeasurement& step, size_t steps);

}  // namespace stasis

#endif  // STASIS_TOOLS_HARNESS_TIME_LINE_H_
