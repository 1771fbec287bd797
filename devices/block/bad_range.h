// BadRange: a part of a disk that cannot be read or written, as on a medium that is going bad.
#ifndef STASIS_DEVICES_BLOCK_BAD_RANGE_H_
#define STASIS_DEVICES_BLOCK_BAD_RANGE_H_

#include <cstdint>
#include <optional>

#include "devices/block/engine.h"
#include "devices/block/io_transfer.h"

namespace stasis {

// Any thread: constant.
class BadRange : public IoFaults {
 public:
  explicit BadRange(const IoRange& bad) : bad_(bad) {}

  // -EIO for every call that touches a byte of the range; flushes go through.
  std::optional<int64_t> Intercept(IoStep& step) override;

 private:
  const IoRange bad_;
};

}  // namespace stasis

#endif  // STASIS_DEVICES_BLOCK_BAD_RANGE_H_
