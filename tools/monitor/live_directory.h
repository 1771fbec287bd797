// LiveDirectory: where the processes of stasis show their guests to `stasis top`.
#ifndef STASIS_TOOLS_MONITOR_LIVE_DIRECTORY_H_
#define STASIS_TOOLS_MONITOR_LIVE_DIRECTORY_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "vmm/base/file_descriptor.h"

namespace stasis {

// One directory per process, of the user alone, and in it one file. A directory and not a file, so
// that the nested lane can share it with its host and nothing else.
//
// Below $XDG_RUNTIME_DIR, else /run for root and /tmp for others.
std::string LiveRoot();
std::string LiveFileIn(const std::string& directory);
// Of the process whose directory that is, in its own PID namespace; 0: of none.
int LivePid(const std::string& directory);

// Of this process, removed in the destructor.
class LiveDirectory {
 public:
  // Takes away what processes that are gone have left. Errors: errno with the path; PermissionDenied
  // for a root that is another user's.
  static absl::StatusOr<LiveDirectory> Make() { return MakeIn(LiveRoot()); }
  static absl::StatusOr<LiveDirectory> MakeIn(const std::string& root);
  ~LiveDirectory();
  LiveDirectory(LiveDirectory&& other) noexcept { Swap(other); }
  LiveDirectory& operator=(LiveDirectory&& other) noexcept {
    Swap(other);
    return *this;
  }

  const std::string& path() const { return path_; }
  std::string file() const { return LiveFileIn(path_); }

 private:
  LiveDirectory(std::string path, FileDescriptor locked)
      : path_(std::move(path)), locked_(std::move(locked)) {}
  void Swap(LiveDirectory& other) {
    std::swap(path_, other.path_);
    std::swap(locked_, other.locked_);
  }

  std::string path_;
  FileDescriptor locked_;  // for as long as this process shows its guest
};

// A process that shows a guest.
struct LiveProcess {
  int pid = 0;
  int parent = 0;
  std::string file;
};
// Those that there are, by pid.
std::vector<LiveProcess> LiveProcesses(const std::string& root);

// "stasis" of /proc/PID/comm; "" without such a process.
std::string ProcessName(int pid);

}  // namespace stasis

#endif  // STASIS_TOOLS_MONITOR_LIVE_DIRECTORY_H_
