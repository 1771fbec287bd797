#include "vmm/boot/unpack_cache.h"

#include <fcntl.h>
#include <nettle/sha2.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <system_error>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"

namespace stasis {
namespace {

constexpr time_t kSettledSeconds = 2;
constexpr char kTemporaryPrefix[] = ".tmp-";
constexpr std::chrono::hours kStaleAge(1);  // no unpacking takes so long

bool NoRoom(int error) { return error == ENOSPC || error == EDQUOT || error == EFBIG; }

absl::Status WriteError(int error, const std::string& directory, size_t needed) {
  if (NoRoom(error)) {
    return absl::ResourceExhaustedError(absl::StrFormat(
        "no room to unpack the kernel: %s needs %d MiB free (%s); free some or set $STASIS_CACHE",
        directory, (needed >> 20) + 1, strerror(error)));
  }
  return absl::ErrnoToStatus(error, absl::StrCat("write to ", directory));
}

std::optional<Mapping> MapFile(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return std::nullopt;
  struct stat status;
  std::optional<Mapping> result;
  if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_size > 0) {
    auto mapping = Mapping::OfFile(fd, status.st_size, path);
    if (mapping.ok()) result = *std::move(mapping);
  }
  close(fd);
  return result;
}

// 0 or an errno. posix_fallocate first, so that a full disk is known before megabytes are written.
int WriteAll(int fd, absl::Span<const uint8_t> bytes) {
  const int allocated = posix_fallocate(fd, 0, bytes.size());
  if (allocated != 0 && allocated != EOPNOTSUPP && allocated != EINVAL) return allocated;
  while (!bytes.empty()) {
    const ssize_t written = write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return errno;
    bytes.remove_prefix(written);
  }
  return fsync(fd) == 0 ? 0 : errno;
}

// What a process left that was killed while it wrote.
void RemoveStaleTemporaries(const std::filesystem::path& directory) {
  std::error_code ignored;
  const auto now = std::filesystem::file_time_type::clock::now();
  for (std::filesystem::directory_iterator it(directory, ignored), end; it != end;
       it.increment(ignored)) {
    if (!absl::StartsWith(it->path().filename().string(), kTemporaryPrefix)) continue;
    const auto written = std::filesystem::last_write_time(it->path(), ignored);
    if (!ignored && now - written > kStaleAge) std::filesystem::remove(it->path(), ignored);
  }
}

}  // namespace

std::string Sha256Hex(absl::Span<const uint8_t> bytes) {
  sha256_ctx context;
  sha256_init(&context);
  sha256_update(&context, bytes.size(), bytes.data());
  uint8_t digest[SHA256_DIGEST_SIZE];
  sha256_digest(&context, sizeof(digest), digest);
  return absl::BytesToHexString(
      absl::string_view(reinterpret_cast<const char*>(digest), sizeof(digest)));
}

UnpackCache::UnpackCache(const std::string& directory)
    : directory_(absl::StrCat(directory, "/unpacked")) {}

std::string UnpackCache::ContentPath(const std::string& sha256) const {
  return absl::StrCat(directory_, "/", sha256, ".vmlinux");
}

std::string UnpackCache::IdentityPath(const struct stat& packed) const {
  return absl::StrFormat("%s/index/%x-%x-%x-%x.%x-%x.%x", directory_, packed.st_dev, packed.st_ino,
                         packed.st_size, packed.st_mtim.tv_sec, packed.st_mtim.tv_nsec,
                         packed.st_ctim.tv_sec, packed.st_ctim.tv_nsec);
}

std::optional<Mapping> UnpackCache::FindByIdentity(const struct stat& packed) const {
  return MapFile(IdentityPath(packed));
}

std::optional<Mapping> UnpackCache::FindByContent(const std::string& sha256) const {
  return MapFile(ContentPath(sha256));
}

absl::Status UnpackCache::Store(const std::string& sha256,
                                absl::Span<const uint8_t> unpacked) const {
  std::error_code error;
  std::filesystem::create_directories(directory_ + "/index", error);
  if (error) return WriteError(error.value(), directory_, unpacked.size());
  RemoveStaleTemporaries(directory_);

  std::string temporary = absl::StrCat(directory_, "/", kTemporaryPrefix, "XXXXXX");
  const int fd = mkostemp(temporary.data(), O_CLOEXEC);
  if (fd < 0) return WriteError(errno, directory_, unpacked.size());
  int failed = WriteAll(fd, unpacked);
  if (failed == 0 && fchmod(fd, 0444) != 0) failed = errno;
  close(fd);
  if (failed == 0 && rename(temporary.c_str(), ContentPath(sha256).c_str()) != 0) failed = errno;
  if (failed == 0) return absl::OkStatus();
  unlink(temporary.c_str());
  return WriteError(failed, directory_, unpacked.size());
}

void UnpackCache::Remember(const struct stat& packed, const std::string& sha256) const {
  const time_t settled = time(nullptr) - kSettledSeconds;
  if (packed.st_mtim.tv_sec > settled || packed.st_ctim.tv_sec > settled) return;
  const std::string target = absl::StrCat("../", sha256, ".vmlinux");
  const std::string path = IdentityPath(packed);
  // A link's name is taken or not at once: no temporary name is needed. One that is there and leads
  // nowhere belongs to an unpacked file that was removed.
  if (symlink(target.c_str(), path.c_str()) == 0 || errno != EEXIST) return;
  if (access(path.c_str(), R_OK) == 0) return;
  unlink(path.c_str());
  if (symlink(target.c_str(), path.c_str()) != 0) return;
}

void UnpackCache::Forget(const struct stat& packed, const std::string& sha256) const {
  unlink(IdentityPath(packed).c_str());
  if (!sha256.empty()) unlink(ContentPath(sha256).c_str());
}

}  // namespace stasis
