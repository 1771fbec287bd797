#include "vmm/boot/mapping.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace stasis {

Mapping::~Mapping() {
  if (data_ != nullptr) munmap(data_, size_);
}

void Mapping::Copy(absl::Span<const uint8_t> part, uint8_t* to) const {
  while (fd_.valid() && !part.empty()) {
    const ssize_t count = pread(fd_.get(), to, part.size(), part.data() - data_);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;  // touching the pages is the other way
    part.remove_prefix(count);
    to += count;
  }
  if (!part.empty()) memcpy(to, part.data(), part.size());
}

void Mapping::DropPages() const {
  if (fd_.valid()) madvise(data_, size_, MADV_DONTNEED);
}

absl::StatusOr<Mapping> Mapping::OfFile(int fd, size_t size, const std::string& path) {
  if (size == 0) return Mapping();
  void* data = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
  if (data == MAP_FAILED) {
    return absl::ErrnoToStatus(errno, absl::StrFormat("map %s (%d bytes)", path, size));
  }
  FileDescriptor kept(fcntl(fd, F_DUPFD_CLOEXEC, 0));
  if (!kept.valid()) {
    const int error = errno;
    munmap(data, size);
    return absl::ErrnoToStatus(error, absl::StrCat("duplicate the descriptor of ", path));
  }
  return Mapping(static_cast<uint8_t*>(data), size, std::move(kept));
}

absl::StatusOr<Mapping> Mapping::Anonymous(size_t size) {
  if (size == 0) return Mapping();
  void* data = mmap(nullptr, size, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data == MAP_FAILED) {
    return absl::ResourceExhaustedError(
        absl::StrFormat("no memory for %d bytes: %s", size, strerror(errno)));
  }
  return Mapping(static_cast<uint8_t*>(data), size, FileDescriptor());
}

}  // namespace stasis
