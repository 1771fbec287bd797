// What the subcommands share: how they are registered, options of machines, the way into a lane.
#ifndef STASIS_TOOLS_STASIS_COMMAND_H_
#define STASIS_TOOLS_STASIS_COMMAND_H_

#include <CLI/CLI.hpp>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "tools/harness/guest_setup.h"
#include "tools/harness/incident.h"
#include "tools/harness/lane.h"
#include "tools/harness/progress.h"
#include "tools/harness/verdict.h"

namespace stasis {

class ShownGuest;  // monitor_options.h

// What main was called with.
struct Invocation {
  std::vector<std::string> argv;
  // What stands behind "--" (`run`: the scheduler's arguments); nullopt without it.
  std::optional<std::vector<std::string>> behind_dashes;
  // Set by the subcommand that was parsed; returns the exit code.
  std::function<int()> action;
};

// One function per subcommand, in a file of its own. `invocation` outlives the app.
void AddRunCommand(CLI::App* app, Invocation* invocation);
void AddBootCommand(CLI::App* app, Invocation* invocation);
void AddShellCommand(CLI::App* app, Invocation* invocation);
void AddListCommand(CLI::App* app, Invocation* invocation);
void AddDoctorCommand(CLI::App* app, Invocation* invocation);
void AddDumpCommand(CLI::App* app, Invocation* invocation);
void AddDumpSchedulerCommands(CLI::App* dump, Invocation* invocation);  // below 'dump'
void AddKernelCommand(CLI::App* app, Invocation* invocation);
void AddFreezeCommand(CLI::App* app, Invocation* invocation);
void AddCompareCommand(CLI::App* app, Invocation* invocation);
void AddReportCommand(CLI::App* app, Invocation* invocation);
void AddTopCommand(CLI::App* app, Invocation* invocation);
void AddScenarioCommand(CLI::App* app, Invocation* invocation);

// Options that run, boot and shell have in common.
struct MachineOptions {
  std::string kernel;
  std::string topology;
  std::string memory;
  std::string append;
  std::string discovery = "auto";
  std::string accel = "auto";
  double time_limit_seconds = 0;  // 0: by the command
  double boot_limit_seconds = 0;  // until the agent says hello; 0: the default
  std::vector<std::string> disks;
  std::string io_cpus;
  std::vector<std::string> modules;
  bool huge_pages = false;
  bool kaslr = false;
  bool verbose = false;
  std::string dump = "fail";
  std::string dump_directory = "stasis-dumps";
};
void AddMachineOptions(CLI::App* command, MachineOptions* options);

// Fills in kernel, topology, memory, discovery. Error: InvalidArgument (no such discovery).
absl::StatusOr<GuestRequest> RequestFrom(const MachineOptions& options);

// When and where to dump. Error: InvalidArgument (no such --dump).
absl::StatusOr<DumpSettings> DumpSettingsFrom(const MachineOptions& options);
// The dump directory for RunNestedCommand, made if need be.
struct DumpDirectory {
  std::string path;  // "": nothing will be dumped, or it cannot be made, which the writer then says
  bool made = false;
};
DumpDirectory WritableDumpDirectory(const DumpSettings& settings);
// Takes away again what was made, if nothing was written to it.
void RemoveIfUnused(const DumpDirectory& directory);

// Where a command runs: prints the lane's note on stderr. Error as a finding.
struct LaneChoice {
  std::optional<Lane> lane;
  Finding finding;  // without a lane
};
LaneChoice ChooseLaneFor(const MachineOptions& options);

// Runs this very command in the emulated host, with what was prepared here: the caches are
// read-only inside, and their keys (device and inode numbers) differ there. Writes a finding of the
// lane itself to stderr. `shown`: where the guest is shown to `stasis top`; may be null.
int RunNestedCommand(const Invocation& invocation, const GuestSetup& prepared,
                     const std::vector<std::string>& writable, absl::Duration time_limit,
                     bool interactive, const ShownGuest* shown = nullptr);

// "kvm", or "nested" inside the emulated host.
std::string LaneName();

// Whether this program runs inside the emulated host.
bool EmulatedHost();

// Limits against hangs are this much larger inside the emulated host.
double Patience();

// An updating line does not go with a console on the same terminal.
ProgressLine::Style ProgressStyle(const MachineOptions& options);

// PrepareGuest with the progress shown; inside the emulated host without, since it was shown
// before.
GuestSetupResult PrepareHere(const GuestRequest& request, ProgressLine* progress);

absl::Duration BootLimit(const MachineOptions& options);

// An error of the host, whatever code the library gives it.
Finding HostError(const absl::Status& status);

// The finding's first line on stderr; returns its exit code.
int Complain(const Finding& finding);

// Directory in which the file `path` would stand, absolute; "" for "".
std::string DirectoryOf(const std::string& path);

}  // namespace stasis

#endif  // STASIS_TOOLS_STASIS_COMMAND_H_
