#include "devices/block/bad_range.h"

#include <errno.h>

namespace stasis {

std::optional<int64_t> BadRange::Intercept(IoStep& step) {
  if (step.call == IoStep::Call::kFdatasync) return std::nullopt;
  uint64_t length = step.length;
  for (int i = 0; i < step.iov_count; ++i) length += step.iov[i].iov_len;
  const bool touched =
      step.offset < bad_.offset + bad_.length && bad_.offset < step.offset + length;
  if (touched) return -EIO;
  return std::nullopt;
}

}  // namespace stasis
