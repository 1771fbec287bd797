// Which pages of guest RAM somebody has ever touched: only those can hold anything but zeroes.
#ifndef STASIS_VMM_DUMP_TOUCHED_PAGES_H_
#define STASIS_VMM_DUMP_TOUCHED_PAGES_H_

#include <cstdint>
#include <functional>

#include "vmm/memory/guest_memory.h"

namespace stasis::dump {

// Calls `run` for each run of touched pages of `region`, ascending, until it returns false. Offsets
// are into the region, in bytes. By /proc/self/pagemap, which also knows pages that were swapped
// out; without it every page counts as touched.
void ForEachTouchedRun(const MemoryRegion& region,
                       const std::function<bool(uint64_t offset, uint64_t length)>& run);

// Whether all `bytes` (a multiple of 64) are zero.
bool IsZero(const uint8_t* data, uint64_t bytes);

}  // namespace stasis::dump

#endif  // STASIS_VMM_DUMP_TOUCHED_PAGES_H_
