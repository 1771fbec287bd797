// BackingFile: what a disk's bytes are kept in (rule B11).
#ifndef STASIS_DEVICES_BLOCK_BACKING_FILE_H_
#define STASIS_DEVICES_BLOCK_BACKING_FILE_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "vmm/base/file_descriptor.h"

namespace stasis {

// Open and locked for its whole life. Constant after Open, so any thread.
class BackingFile {
 public:
  struct Options {
    bool read_only = false;
    bool direct = false;  // O_DIRECT: past the host's page cache
  };

  // A raw image or a block device. A writer excludes every other user of the file, readers exclude
  // writers (flock: other programs notice only if they ask).
  // Errors name the path: NotFound, PermissionDenied, ..., InvalidArgument (neither file nor block
  // device, or less than one sector), FailedPrecondition (locked).
  static absl::StatusOr<std::shared_ptr<BackingFile>> Open(const std::string& path,
                                                           const Options& options);
  // `bytes` of zeroes in anonymous memory, gone with this object. Only what was written takes
  // memory.
  static absl::StatusOr<std::shared_ptr<BackingFile>> CreateScratch(uint64_t bytes);

  int fd() const { return fd_.get(); }
  const std::string& path() const { return path_; }  // or "scratch"
  bool read_only() const { return read_only_; }
  uint64_t size() const { return size_; }  // bytes, a multiple of 512

  // What requests should be aligned to, in bytes: powers of two, 512 <= logical <= physical.
  uint32_t logical_block() const { return logical_block_; }
  uint32_t physical_block() const { return physical_block_; }

 private:
  BackingFile(FileDescriptor fd, std::string path, bool read_only)
      : fd_(std::move(fd)), path_(std::move(path)), read_only_(read_only) {}

  // Reads size and block sizes off the descriptor.
  absl::Status Measure(bool direct);
  absl::Status Lock();

  const FileDescriptor fd_;
  const std::string path_;
  const bool read_only_;
  uint64_t size_ = 0;
  uint32_t logical_block_ = 512;
  uint32_t physical_block_ = 512;
};

}  // namespace stasis

#endif  // STASIS_DEVICES_BLOCK_BACKING_FILE_H_
