// The system call of one step of a transfer, on the calling thread.
#ifndef STASIS_DEVICES_BLOCK_SYSTEM_CALL_H_
#define STASIS_DEVICES_BLOCK_SYSTEM_CALL_H_

#include <cstdint>

#include "devices/block/io_transfer.h"

namespace stasis {

// Blocks until the call returns. The result: bytes, or -errno.
int64_t MakeSystemCall(int fd, const IoStep& step);

}  // namespace stasis

#endif  // STASIS_DEVICES_BLOCK_SYSTEM_CALL_H_
