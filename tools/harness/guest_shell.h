// GuestShell: a command or an interactive shell in a guest.
#ifndef STASIS_TOOLS_HARNESS_GUEST_SHELL_H_
#define STASIS_TOOLS_HARNESS_GUEST_SHELL_H_

#include <optional>
#include <string>

#include "absl/time/time.h"
#include "tools/harness/guest_session.h"
#include "tools/harness/guest_setup.h"
#include "tools/harness/progress.h"
#include "tools/harness/verdict.h"

namespace stasis {

struct GuestShellOptions {
  std::optional<std::string> command;  // for /bin/sh -c; else an interactive shell on hvc0
  std::string append;
  bool verbose = false;
  absl::Duration time_limit = absl::InfiniteDuration();
  double patience = 1;
  absl::Duration boot_limit = absl::Seconds(60);
  DumpSettings dump;
  MonitorSettings monitor = {.hz = 0};
  int freeze_stress = 0;  // see GuestSessionOptions
  std::string lane;
};

struct GuestShellResult {
  int exit_code = 0;               // the command's; 128 + signal when one killed it
  std::optional<Finding> finding;  // the guest or host failed: no exit code
  SessionTimes times;              // as far as the guest came
  std::vector<DumpRecord> dumps;
  nlohmann::json disks = nlohmann::json::array();  // GuestDisks::Report
  SessionFreezes freezes;
  nlohmann::json monitor;  // GuestSession::monitor; null: there was none
};

// A command's output goes to descriptors 1 and 2 as it comes, and descriptor 0 to its input; the
// interactive shell has the terminal. Blocks until the guest is gone.
GuestShellResult RunGuestShell(const GuestSetup& setup, const GuestShellOptions& options,
                               ProgressLine* progress);

}  // namespace stasis

#endif  // STASIS_TOOLS_HARNESS_GUEST_SHELL_H_
