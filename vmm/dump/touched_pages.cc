#include "vmm/dump/touched_pages.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "vmm/base/file_descriptor.h"
#include "vmm/dump/format.h"

namespace stasis::dump {
namespace {

// Documentation/admin-guide/mm/pagemap.rst.
constexpr uint64_t kPresent = uint64_t{1} << 63;
constexpr uint64_t kSwapped = uint64_t{1} << 62;
constexpr uint64_t kPagesAtOnce = 64 * 1024;

}  // namespace

void ForEachTouchedRun(const MemoryRegion& region,
                       const std::function<bool(uint64_t offset, uint64_t length)>& run) {
  const FileDescriptor pagemap(open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
  const uint64_t pages = region.size / kPageBytes;
  const uint64_t first = reinterpret_cast<uint64_t>(region.host) / kPageBytes;
  std::vector<uint64_t> entries;
  uint64_t begin = 0;  // of the run that is under way
  uint64_t length = 0;
  for (uint64_t page = 0; page < pages; page += kPagesAtOnce) {
    entries.assign(std::min(kPagesAtOnce, pages - page), kPresent);
    // What cannot be read counts as touched.
    const ssize_t bytes = entries.size() * sizeof(uint64_t);
    if (!pagemap.valid() ||
        pread(pagemap.get(), entries.data(), bytes, (first + page) * sizeof(uint64_t)) != bytes) {
      std::fill(entries.begin(), entries.end(), kPresent);
    }
    for (uint64_t i = 0; i < entries.size(); ++i) {
      if ((entries[i] & (kPresent | kSwapped)) != 0) {
        if (length == 0) begin = page + i;
        ++length;
      } else if (length > 0) {
        if (!run(begin * kPageBytes, length * kPageBytes)) return;
        length = 0;
      }
    }
  }
  if (length > 0) run(begin * kPageBytes, length * kPageBytes);
}

bool IsZero(const uint8_t* data, uint64_t bytes) {
  // Most pages that hold anything show it at once; in blocks, so that the compiler uses vectors.
  for (uint64_t at = 0; at < bytes; at += 64) {
    uint64_t words[8];
    std::memcpy(words, data + at, sizeof(words));
    const uint64_t any = (words[0] | words[1]) | (words[2] | words[3]) | (words[4] | words[5]) |
                         (words[6] | words[7]);
    if (any != 0) return false;
  }
  return true;
}

}  // namespace stasis::dump
