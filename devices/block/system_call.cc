#include "devices/block/system_call.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

namespace stasis {

int64_t MakeSystemCall(int fd, const IoStep& step) {
  ssize_t result = -1;
  switch (step.call) {
    case IoStep::Call::kReadv:
      result = preadv2(fd, step.iov, step.iov_count, step.offset, step.flags);
      break;
    case IoStep::Call::kWritev:
      result = pwritev2(fd, step.iov, step.iov_count, step.offset, step.flags);
      break;
    case IoStep::Call::kFallocate:
      result = fallocate(fd, step.flags, step.offset, step.length);
      break;
    case IoStep::Call::kFdatasync:
      result = fdatasync(fd);
      break;
  }
  return result < 0 ? -errno : result;
}

}  // namespace stasis
