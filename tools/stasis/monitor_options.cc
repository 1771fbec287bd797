#include "tools/stasis/monitor_options.h"

#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <utility>

#include "absl/status/statusor.h"
#include "tools/monitor/live_view.h"
#include "tools/nested/nested.h"
#include "tools/stasis/seconds_check.h"

namespace stasis {
namespace {

// The directory is named by the process that the user knows.
int PidOf(const std::string& file) {
  const int pid = LivePid(std::filesystem::path(file).parent_path().string());
  return pid > 0 ? pid : static_cast<int>(getpid());
}

}  // namespace

void AddMonitorOptions(CLI::App* command, MonitorOptions* options) {
  command
      ->add_option("--monitor", options->hz,
                   "Looks at the guest's scheduler that many times a second; 0: never")
      ->check(CLI::Range(0.0, 1000.0))
      ->capture_default_str();
  command
      ->add_option("--stall-limit", options->stall_limit_seconds,
                   "A task that waits longer for a CPU, in seconds, is a failure (default: 3, and 9 "
                   "in the nested lane; with sched_ext at most 0.8 of its watchdog's)")
      ->check(SecondsAboveZero());
}

ShownGuest::ShownGuest(const MonitorOptions& options, const std::string& what) : what_(what) {
  if (InNested()) {
    const char* file = getenv(kLiveFileVariable);
    if (file != nullptr) file_ = file;
    return;
  }
  absl::StatusOr<LiveDirectory> made = LiveDirectory::Make();
  if (!made.ok()) return;
  directory_ = *std::move(made);
  file_ = directory_->file();
  nlohmann::json view = {{"pid", PidOf(file_)}, {"what", what}};
  view["state"] = options.hz > 0 ? "booting" : "off";
  if (options.hz <= 0) view["reason"] = "it was started with --monitor 0";
  WriteLiveView(file_, view);
}

std::string ShownGuest::directory() const {
  return directory_.has_value() ? directory_->path() : "";
}

MonitorSettings MonitorSettingsFrom(const MonitorOptions& options, const ShownGuest& shown,
                                    const std::string& kernel_release, const std::string& lane,
                                    double patience, absl::Duration delay) {
  MonitorSettings settings{.hz = options.hz,
                           .limits = MonitorLimits() * patience,
                           .delay = delay,
                           .live_file = shown.file()};
  if (options.stall_limit_seconds > 0) {
    settings.limits.stall = absl::Seconds(options.stall_limit_seconds);
  }
  settings.live_head = {{"pid", PidOf(shown.file())},
                        {"what", shown.what()},
                        {"kernel", kernel_release},
                        {"lane", lane}};
  return settings;
}

}  // namespace stasis
