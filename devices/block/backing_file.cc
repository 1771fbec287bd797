#include "devices/block/backing_file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <bit>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "devices/block/block_protocol.h"

namespace stasis {
namespace {

constexpr uint64_t kMaxBlock = 64 << 10;  // what is larger is a hint about stripes, not blocks

absl::Status Error(int error, const std::string& path, absl::string_view what) {
  return absl::ErrnoToStatus(error, absl::StrCat("disk ", path, ": ", what));
}

uint32_t BlockSize(uint64_t reported, uint32_t at_least) {
  if (!std::has_single_bit(reported) || reported < at_least) return at_least;
  return std::min(reported, kMaxBlock);
}

// What O_DIRECT needs offsets and lengths aligned to; 0 when the kernel does not say.
uint64_t DirectAlignment(int fd) {
#ifdef STATX_DIOALIGN
  struct statx info = {};
  if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &info) == 0 &&
      (info.stx_mask & STATX_DIOALIGN) != 0) {
    return info.stx_dio_offset_align;
  }
#endif
  return 0;
}

}  // namespace

absl::StatusOr<std::shared_ptr<BackingFile>> BackingFile::Open(const std::string& path,
                                                               const Options& options) {
  // O_NONBLOCK only for the open itself: a FIFO must not hang the start.
  const int flags = (options.read_only ? O_RDONLY : O_RDWR) | (options.direct ? O_DIRECT : 0);
  FileDescriptor fd(open(path.c_str(), flags | O_CLOEXEC | O_NONBLOCK));
  if (!fd.valid()) {
    const int error = errno;
    if (error == EINVAL && options.direct) {
      return Error(error, path, "its file system has no O_DIRECT; leave out 'direct'");
    }
    if ((error == EACCES || error == EROFS || error == EPERM) && !options.read_only) {
      return Error(error, path, "cannot be opened for writing; add ',ro' to attach it read-only");
    }
    return Error(error, path, "cannot be opened");
  }
  if (fcntl(fd.get(), F_SETFL, options.direct ? O_DIRECT : 0) != 0) {
    return Error(errno, path, "fcntl");
  }
  std::shared_ptr<BackingFile> file(new BackingFile(std::move(fd), path, options.read_only));
  if (absl::Status status = file->Measure(options.direct); !status.ok()) return status;
  if (absl::Status status = file->Lock(); !status.ok()) return status;
  return file;
}

absl::StatusOr<std::shared_ptr<BackingFile>> BackingFile::CreateScratch(uint64_t bytes) {
  if (bytes < kSectorSize || bytes > INT64_MAX) {
    return absl::InvalidArgumentError(
        absl::StrFormat("scratch disk of %d bytes: must be one sector (512 bytes) or more", bytes));
  }
  FileDescriptor fd(memfd_create("stasis-scratch-disk", MFD_CLOEXEC));
  if (!fd.valid()) return Error(errno, "scratch", "memfd_create");
  if (ftruncate(fd.get(), bytes) != 0) {
    return Error(errno, "scratch", absl::StrFormat("cannot be made %d bytes long", bytes));
  }
  std::shared_ptr<BackingFile> file(new BackingFile(std::move(fd), "scratch", false));
  if (absl::Status status = file->Measure(/*direct=*/false); !status.ok()) return status;
  return file;
}

absl::Status BackingFile::Measure(bool direct) {
  struct stat info;
  if (fstat(fd(), &info) != 0) return Error(errno, path_, "fstat");
  uint64_t bytes = 0;
  uint64_t logical = 512;
  uint64_t physical = info.st_blksize;
  if (S_ISREG(info.st_mode)) {
    bytes = info.st_size;
  } else if (S_ISBLK(info.st_mode)) {
    int sector = 0;
    unsigned int block = 0;
    if (ioctl(fd(), BLKGETSIZE64, &bytes) != 0) return Error(errno, path_, "BLKGETSIZE64");
    if (direct && ioctl(fd(), BLKSSZGET, &sector) == 0 && sector > 0) logical = sector;
    if (ioctl(fd(), BLKPBSZGET, &block) == 0) physical = block;
  } else {
    return absl::InvalidArgumentError(
        absl::StrCat("disk ", path_, ": is neither a regular file nor a block device"));
  }
  if (direct) logical = std::max(logical, DirectAlignment(fd()));
  logical_block_ = BlockSize(logical, kSectorSize);
  physical_block_ = BlockSize(physical, logical_block_);
  size_ = bytes / kSectorSize * kSectorSize;
  if (size_ == 0) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "disk %s: has %d bytes, less than one sector (512); give it a size, for example with "
        "'truncate -s 1G'",
        path_, bytes));
  }
  return absl::OkStatus();
}

absl::Status BackingFile::Lock() {
  if (flock(fd(), (read_only_ ? LOCK_SH : LOCK_EX) | LOCK_NB) == 0) return absl::OkStatus();
  if (errno != EWOULDBLOCK) return Error(errno, path_, "flock");
  return absl::FailedPreconditionError(
      absl::StrCat("disk ", path_, ": is locked by another user of it (",
                   read_only_ ? "a writer" : "another machine",
                   "); stop that one, or attach it with ',ro' everywhere"));
}

}  // namespace stasis
