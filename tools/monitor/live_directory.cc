#include "tools/monitor/live_directory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <system_error>
#include <utility>

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

// Directories of processes, there or gone, by pid.
std::vector<std::pair<int, std::string>> DirectoriesIn(const std::string& root) {
  std::vector<std::pair<int, std::string>> directories;
  std::error_code error;
  for (fs::directory_iterator it(root, error), end; !error && it != end; it.increment(error)) {
    if (const int pid = LivePid(it->path().string()); pid > 0) {
      directories.emplace_back(pid, it->path().string());
    }
  }
  std::sort(directories.begin(), directories.end());
  return directories;
}

// A lock on the directory itself tells that its process is there. A pid does not: another process
// may live in another PID namespace (a build's sandbox, a container) and share the directory.
FileDescriptor Lock(const std::string& directory) {
  FileDescriptor fd(open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
  if (fd.valid() && flock(fd.get(), LOCK_EX | LOCK_NB) != 0) return FileDescriptor();
  return fd;
}

// False: the directory was taken away before it was locked.
bool IsStillThere(const FileDescriptor& locked, const std::string& path) {
  struct stat by_fd, by_path;
  return fstat(locked.get(), &by_fd) == 0 && stat(path.c_str(), &by_path) == 0 &&
         by_fd.st_ino == by_path.st_ino && by_fd.st_dev == by_path.st_dev;
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

int LivePid(const std::string& directory) {
  const std::string name = fs::path(directory).filename().string();
  int pid = 0;
  return absl::SimpleAtoi(name.substr(0, name.find('-')), &pid) && pid > 0 ? pid : 0;
}

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
  for (const auto& [pid, directory] : DirectoriesIn(root)) {
    if (const FileDescriptor locked = Lock(directory); locked.valid()) Remove(directory);
  }
  constexpr int kMostTries = 10;  // another process may have just looked for leftovers
  for (int i = 0; i < kMostTries; ++i) {
    std::string path = absl::StrCat(root, "/", getpid(), "-XXXXXX");
    if (mkdtemp(path.data()) == nullptr) {
      return absl::ErrnoToStatus(errno, absl::StrCat("create directory ", path));
    }
    FileDescriptor locked = Lock(path);
    if (locked.valid() && IsStillThere(locked, path)) {
      return LiveDirectory(path, std::move(locked));
    }
  }
  return absl::UnavailableError(absl::StrCat("no directory in ", root, " stays"));
}

LiveDirectory::~LiveDirectory() {
  if (!path_.empty()) Remove(path_);
}

std::vector<LiveProcess> LiveProcesses(const std::string& root) {
  std::vector<LiveProcess> processes;
  for (const auto& [pid, directory] : DirectoriesIn(root)) {
    if (Lock(directory).valid()) continue;  // a leftover
    processes.push_back({pid, ParentOf(pid), LiveFileIn(directory)});
  }
  return processes;
}

}  // namespace stasis
