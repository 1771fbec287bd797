// Walks over a kernel's lists, red-black trees and hash tables. Their pointers are the guest's: every
// walk ends, whatever they are.
#ifndef STASIS_TOOLS_INSPECT_KERNEL_LISTS_H_
#define STASIS_TOOLS_INSPECT_KERNEL_LISTS_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "tools/inspect/kernel.h"

namespace stasis {

struct Walk {
  std::vector<uint64_t> nodes;  // addresses of the nodes, not of what they are a part of
  // Why there may be more: "leads in a circle", "leads out of memory", "cut after 100". Empty: all.
  std::string cut;
};

// From the list_head at `head` on, which is not a node itself.
Walk WalkList(const Kernel& kernel, uint64_t head, size_t most);
// The rb_root at `root`, the leftmost first.
Walk WalkTree(const Kernel& kernel, uint64_t root, size_t most);
// The rhash_heads of the rhashtable at `table`, and of the one that it is growing into.
Walk WalkHashTable(const Kernel& kernel, uint64_t table, size_t most);

}  // namespace stasis

#endif  // STASIS_TOOLS_INSPECT_KERNEL_LISTS_H_
