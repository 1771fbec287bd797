// OwnedFd: a file descriptor that is closed at the end of its life.
#ifndef STASIS_DEVICES_BLOCK_OWNED_FD_H_
#define STASIS_DEVICES_BLOCK_OWNED_FD_H_

#include <unistd.h>

#include <utility>

namespace stasis {

class OwnedFd {
 public:
  OwnedFd() = default;
  explicit OwnedFd(int fd) : fd_(fd) {}
  OwnedFd(OwnedFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  OwnedFd& operator=(OwnedFd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~OwnedFd() {
    if (fd_ >= 0) close(fd_);
  }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

}  // namespace stasis

#endif  // STASIS_DEVICES_BLOCK_OWNED_FD_H_
