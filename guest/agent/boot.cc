#include "guest/agent/boot.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "guest/agent/system.h"

namespace stasis::agent {
namespace {

struct Mount {
  const char* type;
  const char* target;
  unsigned long flags;
  const char* options;
  bool needed;
};

constexpr Mount kMounts[] = {
    {"proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, "", true},
    {"sysfs", "/sys", MS_NOSUID | MS_NODEV | MS_NOEXEC, "", true},
    {"devtmpfs", "/dev", MS_NOSUID, "mode=0755", true},
    {"devpts", "/dev/pts", MS_NOSUID | MS_NOEXEC, "mode=0620,ptmxmode=0666", false},
    {"tmpfs", "/dev/shm", MS_NOSUID | MS_NODEV, "mode=1777", false},
    {"tmpfs", "/run", MS_NOSUID | MS_NODEV, "mode=0755", false},
    {"tmpfs", "/tmp", MS_NOSUID | MS_NODEV, "mode=1777", false},
    {"cgroup2", "/sys/fs/cgroup", MS_NOSUID | MS_NODEV | MS_NOEXEC, "", false},
    {"debugfs", "/sys/kernel/debug", MS_NOSUID | MS_NODEV | MS_NOEXEC, "", false},
    {"tracefs", "/sys/kernel/tracing", MS_NOSUID | MS_NODEV | MS_NOEXEC, "", false},
    {"bpf", "/sys/fs/bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "", false},
};

bool HasEntries(const char* path) {
  DIR* dir = opendir(path);
  if (dir == nullptr) return false;
  bool any = false;
  while (const dirent* entry = readdir(dir)) any = any || entry->d_name[0] != '.';
  closedir(dir);
  return any;
}

absl::Status LoadModule(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return absl::ErrnoToStatus(errno, absl::StrCat("open module ", path));
  const long result = syscall(SYS_finit_module, fd, "", 0);
  const int error = errno;
  close(fd);
  if (result == 0 || error == EEXIST) return absl::OkStatus();
  const char* hint = error == ENOEXEC ? " (built for another kernel?)" : "";
  return absl::ErrnoToStatus(error, absl::StrCat("load module ", path, hint));
}

}  // namespace

std::vector<absl::Status> MountAll() {
  std::vector<absl::Status> problems;
  for (const Mount& mount_point : kMounts) {
    mkdir(mount_point.target, 0755);
    // Files of the host that the initramfs has there would be hidden; the root is a tmpfs as well.
    if (absl::string_view(mount_point.type) == "tmpfs" && HasEntries(mount_point.target)) continue;
    if (mount(mount_point.type, mount_point.target, mount_point.type, mount_point.flags,
              mount_point.options) == 0) {
      continue;
    }
    // The kernel itself may have mounted devtmpfs (EBUSY); the rest is optional.
    if (errno != EBUSY && mount_point.needed) {
      problems.push_back(absl::ErrnoToStatus(
          errno, absl::StrCat("mount ", mount_point.type, " on ", mount_point.target)));
    }
  }
  return problems;
}

std::vector<absl::Status> LoadModules(const std::string& list) {
  std::vector<absl::Status> problems;
  auto text = ReadText(list);
  if (!text.ok()) return problems;  // a kernel with everything built in comes without a list
  for (absl::string_view path : absl::StrSplit(*text, '\n', absl::SkipEmpty())) {
    absl::Status status = LoadModule(std::string(path));
    if (!status.ok()) problems.push_back(std::move(status));
  }
  return problems;
}

}  // namespace stasis::agent
