// The live view: what the monitor of a running stasis shows to `stasis top`, as JSON in a file and as
// a page for a terminal.
#ifndef STASIS_TOOLS_MONITOR_LIVE_VIEW_H_
#define STASIS_TOOLS_MONITOR_LIVE_VIEW_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"
#include "tools/monitor/detectors.h"
#include "tools/monitor/sample.h"

namespace stasis {

// Members `cpus`, `waiting` (the longest first, `most` of them) and `sched_ext`.
void AddCpus(const Sample& sample, nlohmann::json* view);
void AddWaits(const std::vector<Detectors::Wait>& waits, size_t most, nlohmann::json* view);
void AddScx(const ScxSample& scx, nlohmann::json* view);

// Under a temporary name, then renamed: a reader finds a whole file. It is not synced: it is of no
// use to anybody after a crash. What fails is tried again with the next view.
void WriteLiveView(const std::string& path, const nlohmann::json& view);
// Errors: NotFound, InvalidArgument for what is no live view.
absl::StatusOr<nlohmann::json> ReadLiveView(const std::string& path);

// Lines of at most `columns` characters (0: as long as they are), at most `rows` of them (0: all).
// Text of the guest is made printable. `stale_seconds`: since the view last changed.
std::string LivePage(const nlohmann::json& view, size_t rows, size_t columns, double stale_seconds);

}  // namespace stasis

#endif  // STASIS_TOOLS_MONITOR_LIVE_VIEW_H_
