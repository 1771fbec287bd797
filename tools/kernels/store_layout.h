// Inside of KernelStore: reading a kernel's folder, and putting a new one into place at once.
#ifndef STASIS_TOOLS_KERNELS_STORE_LAYOUT_H_
#define STASIS_TOOLS_KERNELS_STORE_LAYOUT_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "tools/kernels/kernel_store.h"

namespace stasis {

// Reads kernels/<release>; nullopt if no image is in it.
std::optional<CachedKernel> ReadKernelFolder(const std::string& folder);

// Writes origin.json into `folder`.
absl::Status WriteOrigin(const std::string& folder, const KernelOrigin& origin);

// InvalidArgument etc. if `path` has less than `bytes` free: ResourceExhausted naming both.
absl::Status CheckRoom(const std::string& path, uint64_t bytes, absl::string_view what);

// Orders "6.9" before "6.12": numbers by value, all else by character.
bool ReleaseLess(absl::string_view a, absl::string_view b);

// An advisory lock on a file; gone with the object or the process.
class FileLock {
 public:
  // Waits for another holder; `on_wait` is called once if there is one. The folder is made.
  static absl::StatusOr<FileLock> Take(const std::string& path,
                                       const std::function<void()>& on_wait);
  FileLock(FileLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileLock& operator=(FileLock&&) = delete;
  ~FileLock();

 private:
  explicit FileLock(int fd) : fd_(fd) {}
  int fd_;
};

// Held while kernels/ is changed. Removes what killed processes left behind.
absl::StatusOr<FileLock> TakeStoreLock(const std::string& cache_directory,
                                       const std::function<void()>& on_wait);

// A folder beside its final place; removed with the object unless it was installed.
class StagingFolder {
 public:
  // The caller holds the store lock for as long as the folder lives.
  static absl::StatusOr<StagingFolder> Make(const std::string& cache_directory);
  StagingFolder(StagingFolder&& other) noexcept : path_(std::exchange(other.path_, "")) {}
  StagingFolder& operator=(StagingFolder&&) = delete;
  ~StagingFolder();

  const std::string& path() const { return path_; }

  // Puts `from` (a folder inside this one) at kernels/<release>, in exchange for one that is there.
  absl::Status Install(const std::string& from, const std::string& release);

 private:
  explicit StagingFolder(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

}  // namespace stasis

#endif  // STASIS_TOOLS_KERNELS_STORE_LAYOUT_H_
