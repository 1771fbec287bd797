// Charts of one run as SVG: lanes over time, bars, distributions.
#ifndef STASIS_TOOLS_REPORT_CHARTS_H_
#define STASIS_TOOLS_REPORT_CHARTS_H_

#include <string>
#include <utility>
#include <vector>

#include "nlohmann/json.hpp"

namespace stasis::html {

// Each takes a result of `stasis run --json` and gives an <svg>, or "" where the result has nothing
// of the kind.

// A lane for each worker: where it ran (colour: CPU) and how much (strength), where it waited (red
// below). Steps are lines across.
std::string WorkerLanes(const nlohmann::json& result);
// A lane for each CPU: how many workers were last seen on it.
std::string CpuDepth(const nlohmann::json& result);
// A lane for each CPU: how many tasks, of the workers and any other, wanted it, as the monitor saw
// it from the host. Lines: when a task that was found waiting last ran.
std::string RunqueueDepth(const nlohmann::json& result);
// Iterations per second of each work group over time.
std::string Throughput(const nlohmann::json& result);
// Each worker's longest gap.
std::string Gaps(const nlohmann::json& result);
// CPU time of each cgroup with work of its own, beside the share that its weight asks for.
std::string CgroupShares(const nlohmann::json& result);
// Of the histograms `key` ("wakeup", "response") of all workers of a work group, one line each.
std::string Latencies(const nlohmann::json& result, const char* key);

}  // namespace stasis::html

#endif  // STASIS_TOOLS_REPORT_CHARTS_H_
