// JUnit XML of several runs, as Bazel ($XML_OUTPUT_FILE) and CI servers read it.
#ifndef STASIS_TOOLS_HARNESS_RUN_SET_JUNIT_H_
#define STASIS_TOOLS_HARNESS_RUN_SET_JUNIT_H_

#include <string>
#include <vector>

#include "tools/harness/run_set/outcome.h"

namespace stasis {

// One test suite, one test case per run: class = scenario, name = "run 2". A fail is a failure;
// usage, error, interruption and a verdict of inconclusive are errors (the run proved nothing); what
// was skipped is skipped. The whole report of a run is its system-out. Always well-formed: what XML
// 1.0 cannot hold, or is no UTF-8, is replaced.
std::string JunitXml(const std::vector<RunOutcome>& outcomes);

}  // namespace stasis

#endif  // STASIS_TOOLS_HARNESS_RUN_SET_JUNIT_H_
