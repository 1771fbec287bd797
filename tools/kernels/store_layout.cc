#include "tools/kernels/store_layout.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cctype>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace stasis {
namespace {

namespace fs = std::filesystem;

constexpr char kStagingPrefix[] = ".staging-";

std::string IfThere(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored) ? path.string() : "";
}

std::string Text(const nlohmann::json& json, const char* key) {
  const auto it = json.find(key);
  return it != json.end() && it->is_string() ? it->get<std::string>() : "";
}

KernelOrigin ReadOrigin(const fs::path& path) {
  std::ifstream file(path);
  const auto json = nlohmann::json::parse(file, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return {};
  return {Text(json, "kind"),    Text(json, "name"),   Text(json, "package"),
          Text(json, "version"), Text(json, "source"), Text(json, "created")};
}

void RemoveAll(const std::string& path) {
  std::error_code ignored;
  if (!path.empty()) fs::remove_all(path, ignored);
}

}  // namespace

std::optional<CachedKernel> ReadKernelFolder(const std::string& folder) {
  const fs::path base(folder);
  CachedKernel kernel;
  kernel.release = base.filename().string();
  kernel.vmlinux = IfThere(base / "vmlinux");
  kernel.image = IfThere(base / "vmlinuz");
  if (kernel.image.empty()) kernel.image = kernel.vmlinux;
  if (kernel.image.empty()) return std::nullopt;
  kernel.config = IfThere(base / "config");
  kernel.modules = IfThere(base / "lib/modules" / kernel.release);
  kernel.origin = ReadOrigin(base / "origin.json");
  return kernel;
}

absl::Status WriteOrigin(const std::string& folder, const KernelOrigin& origin) {
  const nlohmann::ordered_json json = {{"kind", origin.kind},       {"name", origin.name},
                                       {"package", origin.package}, {"version", origin.version},
                                       {"source", origin.source},   {"created", origin.created}};
  const std::string path = folder + "/origin.json";
  std::ofstream file(path);
  // The text comes from package names and paths: invalid UTF-8 is replaced rather than thrown at.
  file << json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) << "\n";
  file.close();
  if (!file) return absl::ErrnoToStatus(errno, absl::StrCat("write ", path));
  return absl::OkStatus();
}

absl::Status CheckRoom(const std::string& path, uint64_t bytes, absl::string_view what) {
  struct statvfs status;
  if (statvfs(path.c_str(), &status) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("statvfs ", path));
  }
  const uint64_t available = uint64_t{status.f_bavail} * status.f_frsize;
  if (available >= bytes) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrFormat(
      "disk full: %s needs %d MiB below %s, %d MiB are free; free some or set $STASIS_CACHE", what,
      (bytes >> 20) + 1, path, available >> 20));
}

bool ReleaseLess(absl::string_view a, absl::string_view b) {
  size_t i = 0;
  size_t j = 0;
  while (i < a.size() && j < b.size()) {
    if (isdigit(a[i]) && isdigit(b[j])) {
      uint64_t left = 0;
      uint64_t right = 0;
      while (i < a.size() && isdigit(a[i])) left = left * 10 + (a[i++] - '0');
      while (j < b.size() && isdigit(b[j])) right = right * 10 + (b[j++] - '0');
      if (left != right) return left < right;
    } else {
      if (a[i] != b[j]) return a[i] < b[j];
      ++i;
      ++j;
    }
  }
  return a.size() - i < b.size() - j;
}

absl::StatusOr<FileLock> FileLock::Take(const std::string& path,
                                        const std::function<void()>& on_wait) {
  std::error_code error;
  const std::string folder = fs::path(path).parent_path().string();
  fs::create_directories(folder, error);
  if (error) return absl::ErrnoToStatus(error.value(), absl::StrCat("create ", folder));
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) return absl::ErrnoToStatus(errno, absl::StrCat("open ", path));
  FileLock lock(fd);
  if (flock(fd, LOCK_EX | LOCK_NB) == 0) return lock;
  on_wait();
  int result;
  do {
    result = flock(fd, LOCK_EX);
  } while (result != 0 && errno == EINTR);
  if (result != 0) return absl::ErrnoToStatus(errno, absl::StrCat("lock ", path));
  return lock;
}

FileLock::~FileLock() {
  if (fd_ >= 0) close(fd_);
}

absl::StatusOr<FileLock> TakeStoreLock(const std::string& cache_directory,
                                       const std::function<void()>& on_wait) {
  auto lock = FileLock::Take(cache_directory + "/kernels/.lock", on_wait);
  if (!lock.ok()) return lock;
  // Whoever made these is gone: its lock is.
  std::error_code ignored;
  std::vector<std::string> stale;
  for (const auto& entry : fs::directory_iterator(cache_directory + "/kernels", ignored)) {
    if (absl::StartsWith(entry.path().filename().string(), kStagingPrefix)) {
      stale.push_back(entry.path());
    }
  }
  for (const std::string& folder : stale) RemoveAll(folder);
  return lock;
}

absl::StatusOr<StagingFolder> StagingFolder::Make(const std::string& cache_directory) {
  std::string path = absl::StrCat(cache_directory, "/kernels/", kStagingPrefix, "XXXXXX");
  if (mkdtemp(path.data()) == nullptr) {
    return absl::ErrnoToStatus(errno, absl::StrCat("create a folder in ", cache_directory));
  }
  chmod(path.c_str(), 0755);
  return StagingFolder(path);
}

StagingFolder::~StagingFolder() { RemoveAll(path_); }

absl::Status StagingFolder::Install(const std::string& from, const std::string& release) {
  const std::string target = (fs::path(path_).parent_path() / release).string();
  // What is on disk after a power cut is either the old kernel or the whole new one.
  const int fd = open(from.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd >= 0) {
    syncfs(fd);
    close(fd);
  }
  if (rename(from.c_str(), target.c_str()) == 0) return absl::OkStatus();
  if (errno != EEXIST && errno != ENOTEMPTY) {
    return absl::ErrnoToStatus(errno, absl::StrCat("rename to ", target));
  }
  // The old one is now inside the staging folder and goes away with it.
  if (renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, target.c_str(), RENAME_EXCHANGE) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("replace ", target));
  }
  return absl::OkStatus();
}

}  // namespace stasis
