#include "tools/harness/initramfs/image_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <system_error>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tools/harness/initramfs/files.h"

namespace stasis {
namespace {

namespace fs = std::filesystem;

constexpr auto kUnusedImageAge = std::chrono::hours(24 * 14);
constexpr auto kAbandonedBuildAge = std::chrono::hours(24);
constexpr char kTemporaryPrefix[] = ".building.";

// FNV-1a: names an entry. A collision costs a rebuild, no more (see Find).
uint64_t Hash(absl::string_view text) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (unsigned char byte : text) hash = (hash ^ byte) * 0x100000001b3u;
  return hash;
}

absl::Status WriteError(int error, const std::string& path, uint64_t written) {
  if (error != ENOSPC && error != EDQUOT) {
    return absl::ErrnoToStatus(error, absl::StrCat("write ", path));
  }
  struct statvfs room = {};
  statvfs(fs::path(path).parent_path().c_str(), &room);
  return absl::ResourceExhaustedError(absl::StrFormat(
      "no room to build the initramfs in %s: disk full after %d KiB (%d KiB free); free some or "
      "set $STASIS_CACHE",
      path, written >> 10, (uint64_t{room.f_bavail} * room.f_bsize) >> 10));
}

absl::Status WriteAll(int fd, const std::string& path, absl::string_view bytes, uint64_t* written) {
  while (!bytes.empty()) {
    const ssize_t put = write(fd, bytes.data(), bytes.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return WriteError(errno, path, *written);
    bytes.remove_prefix(static_cast<size_t>(put));
    *written += static_cast<uint64_t>(put);
  }
  return absl::OkStatus();
}

absl::Status WriteFile(const std::string& path, const ImageCache::Builder& build) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (fd < 0) return WriteError(errno, path, 0);
  absl::Cleanup close_fd = [fd] { close(fd); };
  uint64_t written = 0;
  absl::Status status =
      build([&](absl::string_view bytes) { return WriteAll(fd, path, bytes, &written); });
  if (!status.ok()) return status;
  // The directory is renamed into place next: a power cut must not leave an empty file in it.
  if (fdatasync(fd) != 0) return WriteError(errno, path, written);
  return absl::OkStatus();
}

}  // namespace

std::string ImageCache::EntryPath(const std::string& key) const {
  return absl::StrFormat("%s/%016x", dir_, Hash(key));
}

std::optional<ImageCache::Image> ImageCache::Find(const std::string& key) const {
  const std::string entry = EntryPath(key);
  auto stored = ReadFile(absl::StrCat(entry, "/key"));
  if (!stored.ok()) return std::nullopt;
  const std::string image = absl::StrCat(entry, "/image");
  struct stat info;
  if (stat(image.c_str(), &info) != 0) return std::nullopt;
  const uint64_t size = static_cast<uint64_t>(info.st_size);
  if (*stored != absl::StrCat(key, "size ", size, "\n")) return std::nullopt;
  utimensat(AT_FDCWD, entry.c_str(), nullptr, 0);  // last use, for RemoveStale
  return Image{image, size};
}

absl::StatusOr<ImageCache::Image> ImageCache::Store(const std::string& key,
                                                    const Builder& build) const {
  std::error_code error;
  fs::create_directories(dir_, error);
  if (error) return WriteError(error.value(), dir_, 0);
  RemoveStale();
  std::string temporary = absl::StrCat(dir_, "/", kTemporaryPrefix, "XXXXXX");
  if (mkdtemp(temporary.data()) == nullptr) return WriteError(errno, temporary, 0);
  absl::Cleanup remove = [&] { fs::remove_all(temporary, error); };
  chmod(temporary.c_str(), 0755);

  const std::string image = absl::StrCat(temporary, "/image");
  absl::Status status = WriteFile(image, build);
  if (!status.ok()) return status;
  const uint64_t size = fs::file_size(image, error);
  if (error) return WriteError(error.value(), image, 0);
  status = WriteFile(absl::StrCat(temporary, "/key"), [&](const Writer& write) {
    return write(absl::StrCat(key, "size ", size, "\n"));
  });
  if (!status.ok()) return status;

  const std::string entry = EntryPath(key);
  for (int attempt = 0; attempt < 3; ++attempt) {
    if (rename(temporary.c_str(), entry.c_str()) == 0) {
      std::move(remove).Cancel();
      return Image{absl::StrCat(entry, "/image"), size};
    }
    if (errno != EEXIST && errno != ENOTEMPTY) return WriteError(errno, entry, size);
    if (std::optional<Image> other = Find(key); other.has_value()) return *other;
    fs::remove_all(entry, error);  // a damaged entry, or one of another key
  }
  return absl::UnavailableError(absl::StrCat("cannot replace ", entry, "; remove it by hand"));
}

void ImageCache::RemoveStale() const {
  std::error_code error;
  const auto now = fs::file_time_type::clock::now();
  for (const fs::directory_entry& entry : fs::directory_iterator(dir_, error)) {
    const auto used = entry.last_write_time(error);
    if (error) continue;
    const bool temporary = absl::StartsWith(entry.path().filename().string(), kTemporaryPrefix);
    if (now - used > (temporary ? kAbandonedBuildAge : kUnusedImageAge)) {
      fs::remove_all(entry.path(), error);
    }
  }
}

}  // namespace stasis
