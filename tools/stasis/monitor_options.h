// The monitor on the command line, and what is shown of a guest to `stasis top`.
#ifndef STASIS_TOOLS_STASIS_MONITOR_OPTIONS_H_
#define STASIS_TOOLS_STASIS_MONITOR_OPTIONS_H_

#include <CLI/CLI.hpp>
#include <optional>
#include <string>

#include "absl/time/time.h"
#include "tools/monitor/live_directory.h"
#include "tools/monitor/monitor.h"

namespace stasis {

struct MonitorOptions {
  double hz = 10;
  double stall_limit_seconds = 0;  // 0: the default
};
void AddMonitorOptions(CLI::App* command, MonitorOptions* options);

// Where this process shows its guest, from the preparation to the end. Inside the emulated host:
// the place that the process outside has made. A place that cannot be made is no reason not to run.
class ShownGuest {
 public:
  // `what`: "run steady".
  ShownGuest(const MonitorOptions& options, const std::string& what);

  // For RunNestedCommand; "" without a place.
  std::string directory() const;
  const std::string& file() const { return file_; }
  const std::string& what() const { return what_; }

 private:
  const std::string what_;
  std::optional<LiveDirectory> directory_;
  std::string file_;
};

// `patience` scales default limits; what the user writes is taken as it is. `delay`: see
// MonitorSettings.
MonitorSettings MonitorSettingsFrom(const MonitorOptions& options, const ShownGuest& shown,
                                    const std::string& kernel_release, const std::string& lane,
                                    double patience, absl::Duration delay);

// Names the place to the program inside the emulated host.
inline constexpr char kLiveFileVariable[] = "STASIS_LIVE_FILE";

}  // namespace stasis

#endif  // STASIS_TOOLS_STASIS_MONITOR_OPTIONS_H_
