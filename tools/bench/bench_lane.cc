#include "tools/bench/bench_lane.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "tools/harness/files.h"
#include "tools/harness/initramfs/files.h"
#include "tools/harness/initramfs/initramfs.h"
#include "tools/harness/lane.h"
#include "tools/harness/progress.h"
#include "tools/kernels/kernel_store.h"
#include "tools/nested/nested.h"

namespace stasis::bench {

namespace fs = std::filesystem;

int Fail(const absl::Status& status) {
  fprintf(stderr, "bench: %s\n", std::string(status.message()).c_str());
  return kExitError;
}

absl::StatusOr<std::string> FindStasis() {
  absl::StatusOr<std::string> agent = FindAgentBinary();
  if (!agent.ok()) return agent.status();
  setenv("STASIS_AGENT", agent->c_str(), 1);  // stasis has other runfiles
  std::error_code error;
  const fs::path self = fs::read_symlink("/proc/self/exe", error);
  for (const fs::path& place : {fs::path(self.string() + ".runfiles/stasis/tools/stasis/stasis"),
                                self.parent_path() / "../stasis/stasis"}) {
    const fs::path real = fs::canonical(place, error);
    if (!error) return real.string();
  }
  return absl::NotFoundError("no stasis binary beside the benchmark; use 'bazel run'");
}

double HostLoad() {
  double load[1] = {0};
  return getloadavg(load, 1) == 1 ? load[0] : 0;
}

std::string HostCpu() {
  absl::StatusOr<std::string> text = ReadWholeFile("/proc/cpuinfo", 16 << 20);
  if (!text.ok()) return "unknown CPU";
  for (absl::string_view line : absl::StrSplit(*text, '\n')) {
    if (!absl::ConsumePrefix(&line, "model name")) continue;
    return std::string(absl::StripLeadingAsciiWhitespace(line.substr(line.find(':') + 1)));
  }
  return "unknown CPU";
}

std::string FirstLineOf(const std::vector<std::string>& command) {
  absl::StatusOr<std::string> output = RunProgram(command);
  return output.ok() ? output->substr(0, output->find('\n')) : std::string(command[0]);
}

absl::Status MakeCacheInside(const std::string& directory) {
  const fs::path outside = stasis::CacheDirectory();
  const fs::path inside = directory + "/cache";
  std::error_code error;
  fs::create_directories(inside / "unpacked", error);
  fs::create_directory_symlink(outside / "kernels", inside / "kernels", error);
  for (fs::directory_iterator it(outside / "unpacked", error), end; !error && it != end;
       it.increment(error)) {
    if (it->path().extension() != ".vmlinux") continue;
    fs::create_symlink(it->path(), inside / "unpacked" / it->path().filename(), error);
  }
  if (error) return absl::InternalError(absl::StrCat(inside.string(), ": ", error.message()));
  setenv("STASIS_CACHE", inside.c_str(), 1);
  return absl::OkStatus();
}

absl::Status EnterUserDirectory() {
  const char* directory = getenv("BUILD_WORKING_DIRECTORY");
  if (directory == nullptr || chdir(directory) == 0) return absl::OkStatus();
  return absl::ErrnoToStatus(errno, directory);
}

absl::StatusOr<GuestSetup> PrepareQuietly(GuestRequest request) {
  const char* prepared = getenv(kPreparedInitrd);
  if (InNested() && prepared != nullptr) request.initrd = prepared;
  ProgressLine silent(STDERR_FILENO, ProgressLine::Style::kSilent);
  GuestSetupResult result = PrepareGuest(request, &silent);
  if (result.setup.has_value()) return *std::move(result.setup);
  return absl::FailedPreconditionError(result.finding.what);
}

absl::StatusOr<std::optional<int>> RunInsideIfNeeded(
    const std::string& accel, const std::vector<std::string>& argv,
    const std::vector<std::pair<std::string, std::string>>& environment,
    const std::vector<std::string>& writable) {
  absl::StatusOr<Accel> asked = ParseAccel(accel);
  if (!asked.ok()) return asked.status();
  absl::StatusOr<Lane> lane = ChooseLane(*asked);
  if (!lane.ok()) return lane.status();
  if (!lane->note.empty()) fprintf(stderr, "bench: %s\n", lane->note.c_str());
  if (!lane->nested) return std::nullopt;
  absl::StatusOr<int> code =
      RunInNestedLane({.argv = argv, .environment = environment, .writable = writable});
  if (!code.ok()) return code.status();
  return *code;
}

}  // namespace stasis::bench
