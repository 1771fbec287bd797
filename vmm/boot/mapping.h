// Mapping: bytes of a file or of anonymous memory, mapped for as long as the object lives.
#ifndef STASIS_VMM_BOOT_MAPPING_H_
#define STASIS_VMM_BOOT_MAPPING_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "vmm/base/file_descriptor.h"

namespace stasis {

// Owned by one object at a time (move only); the bytes do not move. A file that is truncated while
// it is mapped raises SIGBUS at the next access: kernels are replaced by rename, not in place.
class Mapping {
 public:
  Mapping() = default;
  ~Mapping();
  Mapping(Mapping&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)),
        size_(std::exchange(other.size_, 0)),
        fd_(std::move(other.fd_)) {}
  Mapping& operator=(Mapping&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    fd_ = std::move(other.fd_);
    return *this;
  }

  // Maps the first `size` bytes of `fd` read-only; `path` is for the message. The descriptor stays
  // the caller's. A size of 0 gives an empty mapping. Error: errno of mmap or dup.
  static absl::StatusOr<Mapping> OfFile(int fd, size_t size, const std::string& path);

  // Maps `size` bytes of zeroed, writable memory. Error: ResourceExhausted with the size.
  static absl::StatusOr<Mapping> Anonymous(size_t size);

  absl::Span<const uint8_t> bytes() const { return {data_, size_}; }

  // Copies `part`, which lies in bytes(), to `to`. Tens of MiB of a file are read() rather than
  // touched page by page: the file does not enter the process's memory, and where page faults are
  // dear the copy takes a third of the time.
  void Copy(absl::Span<const uint8_t> part, uint8_t* to) const;

  // Gives back the memory behind a file's mapping until its bytes are read again. No effect on an
  // anonymous mapping, whose bytes are nowhere else.
  void DropPages() const;

  // Only for an anonymous mapping: a file's bytes are read-only.
  absl::Span<uint8_t> writable_bytes() { return {data_, size_}; }

 private:
  Mapping(uint8_t* data, size_t size, FileDescriptor fd)
      : data_(data), size_(size), fd_(std::move(fd)) {}

  uint8_t* data_ = nullptr;
  size_t size_ = 0;
  FileDescriptor fd_;  // of the file; none for anonymous memory
};

}  // namespace stasis

#endif  // STASIS_VMM_BOOT_MAPPING_H_
