#include "tools/monitor/live_directory.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <system_error>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace stasis {
namespace {

namespace fs = std::filesystem;

// 0: gone.
int ParentOf(int pid) {
  std::ifstream status(absl::StrCat("/proc/", pid, "/status"));
  std::string line;
  while (std::getline(status, line)) {
    if (line.rfind("PPid:", 0) != 0) continue;
    int parent = 0;
    return absl::SimpleAtoi(line.substr(5), &parent) ? parent : 0;
  }
  return 0;
}

std::vector<int> PidsIn(const std::string& root) {
  std::vector<int> pids;
  std::error_code error;
  for (fs::directory_iterator it(root, error), end; !error && it != end; it.increment(error)) {
    int pid = 0;
    if (absl::SimpleAtoi(it->path().filename().string(), &pid) && pid > 0) pids.push_back(pid);
  }
  std::sort(pids.begin(), pids.end());
  return pids;
}

void Remove(const std::string& directory) {
  unlink(LiveFileIn(directory).c_str());
  unlink((LiveFileIn(directory) + ".new").c_str());
  rmdir(directory.c_str());
}

}  // namespace

std::string LiveRoot() {
  const char* runtime = getenv("XDG_RUNTIME_DIR");
  if (runtime != nullptr && runtime[0] == '/') return absl::StrCat(runtime, "/stasis");
  if (geteuid() == 0) return "/run/stasis";
  return absl::StrCat("/tmp/stasis-", geteuid());
}

std::string LiveFileIn(const std::string& directory) { return directory + "/view.json"; }

std::string ProcessName(int pid) {
  std::ifstream file(absl::StrCat("/proc/", pid, "/comm"));
  std::string name;
  std::getline(file, name);
  return name;
}

absl::StatusOr<LiveDirectory> LiveDirectory::MakeIn(const std::string& root) {
  if (mkdir(root.c_str(), 0700) != 0 && errno != EEXIST) {
    return absl::ErrnoToStatus(errno, absl::StrCat("create directory ", root));
  }
  struct stat found;
  if (lstat(root.c_str(), &found) != 0 || !S_ISDIR(found.st_mode) || found.st_uid != geteuid()) {
    return absl::PermissionDeniedError(absl::StrCat(root, " is not a directory of this user's"));
  }
  for (const int pid : PidsIn(root)) {
    if (ProcessName(pid) != "stasis") Remove(absl::StrCat(root, "/", pid));
  }
  const std::string path = absl::StrCat(root, "/", getpid());
  if (mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) {
    return absl::ErrnoToStatus(errno, absl::StrCat("create directory ", path));
  }
  return LiveDirectory(path);
}

LiveDirectory::~LiveDirectory() {
  if (!path_.empty()) Remove(path_);
}

std::vector<LiveProcess> LiveProcesses(const std::string& root) {
  std::vector<LiveProcess> processes;
  for (const int pid : PidsIn(root)) {
    if (ProcessName(pid) != "stasis") continue;
    processes.push_back({pid, ParentOf(pid), LiveFileIn(absl::StrCat(root, "/", pid))});
  }
  return processes;
}

}  // namespace stasis
