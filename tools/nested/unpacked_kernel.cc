#include "tools/nested/unpacked_kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <glog/logging.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <optional>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "tools/nested/emulator.h"
#include "vmm/boot/bzimage.h"
#include "vmm/boot/mapping.h"
#include "vmm/boot/unpack_cache.h"

namespace stasis::nested {
namespace {

absl::Status ErrnoError(const std::string& what) {
  return absl::UnavailableError(absl::StrCat(what, ": ", strerror(errno)));
}

absl::StatusOr<Mapping> Unpack(const OwnedFd& file, const struct stat& status,
                               const std::string& path, const UnpackCache& cache) {
  auto packed = Mapping::OfFile(file.get(), static_cast<size_t>(status.st_size), path);
  if (!packed.ok()) return packed.status();
  auto image = ParseBzImage(packed->bytes());
  if (!image.ok()) return image.status();
  auto unpacked = UnpackPayload(*image);
  if (!unpacked.ok()) return unpacked.status();
  const std::string sha256 = Sha256Hex(packed->bytes());
  if (auto stored = cache.Store(sha256, unpacked->bytes()); stored.ok()) {
    cache.Remember(status, sha256);
  } else {
    VLOG(1) << "unpacked kernel not kept: " << stored;
  }
  return unpacked;
}

absl::StatusOr<int> ToMemory(absl::Span<const uint8_t> bytes) {
  OwnedFd fd(memfd_create("stasis-nested-kernel", MFD_CLOEXEC));
  if (fd.get() < 0) return ErrnoError("memfd_create");
  while (!bytes.empty()) {
    const ssize_t n = write(fd.get(), bytes.data(), bytes.size());
    if (n <= 0) return ErrnoError("write the unpacked kernel");
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return fd.release();
}

}  // namespace

absl::StatusOr<int> UnpackKernel(const std::string& path, const std::string& cache_directory) {
  OwnedFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat status = {};
  if (file.get() < 0 || fstat(file.get(), &status) != 0) {
    return ErrnoError(absl::StrCat("open ", path));
  }
  const UnpackCache cache(cache_directory);
  std::optional<Mapping> cached = cache.FindByIdentity(status);
  if (cached) return ToMemory(cached->bytes());
  auto unpacked = Unpack(file, status, path, cache);
  if (!unpacked.ok()) return unpacked.status();
  return ToMemory(unpacked->bytes());
}

}  // namespace stasis::nested
