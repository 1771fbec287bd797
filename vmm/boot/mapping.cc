#include "vmm/boot/mapping.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_format.h"

namespace stasis {

Mapping::~Mapping() {
  if (data_ != nullptr) munmap(data_, size_);
}

void Mapping::DropPages() const {
  if (of_file_) madvise(data_, size_, MADV_DONTNEED);
}

absl::StatusOr<Mapping> Mapping::OfFile(int fd, size_t size, const std::string& path) {
  if (size == 0) return Mapping();
  void* data = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
  if (data == MAP_FAILED) {
    return absl::ErrnoToStatus(errno, absl::StrFormat("map %s (%d bytes)", path, size));
  }
  return Mapping(static_cast<uint8_t*>(data), size, /*of_file=*/true);
}

absl::StatusOr<Mapping> Mapping::Anonymous(size_t size) {
  if (size == 0) return Mapping();
  void* data = mmap(nullptr, size, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data == MAP_FAILED) {
    return absl::ResourceExhaustedError(
        absl::StrFormat("no memory for %d bytes: %s", size, strerror(errno)));
  }
  return Mapping(static_cast<uint8_t*>(data), size, /*of_file=*/false);
}

}  // namespace stasis
