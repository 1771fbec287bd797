#include "tools/inspect/kernel_lists.h"

#include <algorithm>
#include <cstring>
#include <unordered_set>

#include "absl/strings/str_cat.h"

namespace stasis {
namespace {

constexpr char kCircle[] = "leads in a circle";
constexpr char kOutOfMemory[] = "leads out of memory";
// A red-black tree of all of memory's nodes is no deeper.
constexpr size_t kDeepestTree = 128;
constexpr uint64_t kMostBuckets = 1 << 16;

std::string CutAfter(size_t most) { return absl::StrCat("cut after ", most); }

// One table of a hash table. The low bit of a bucket is its lock, that of a `next` the end.
void WalkBuckets(const Kernel& kernel, const KernelStruct& table, size_t most,
                 std::unordered_set<uint64_t>* seen, Walk* walk) {
  const uint64_t size = table.NumberOr("size", 0);
  const auto buckets = table.AddressOf("buckets");
  const auto next = kernel.types().Find("rhash_head", "next");
  if (!buckets || !next) {
    walk->cut = "is of a form that is not known here";
    return;
  }
  if (size > kMostBuckets || table.NumberOr("nest", 0) != 0) {
    walk->cut = absl::StrCat("has ", size, " buckets or nested ones, which are not walked");
    return;
  }
  std::string heads(size * sizeof(uint64_t), '\0');
  if (!kernel.memory().Read(*buckets, heads.data(), heads.size())) {
    walk->cut = kOutOfMemory;
    return;
  }
  for (uint64_t i = 0; i < size; ++i) {
    uint64_t node;
    memcpy(&node, heads.data() + i * sizeof(node), sizeof(node));
    node &= ~uint64_t{1};
    while (node != 0 && (node & 1) == 0) {
      if (!seen->insert(node).second) {
        // In both tables while the one grows into the other, or in a circle: seen either way.
        break;
      }
      if (walk->nodes.size() >= most) {
        walk->cut = CutAfter(most);
        return;
      }
      const auto following = kernel.memory().Load<uint64_t>(node + next->offset);
      if (!following.has_value()) {
        walk->cut = kOutOfMemory;
        break;
      }
      walk->nodes.push_back(node);
      node = *following;
    }
  }
}

}  // namespace

Walk WalkList(const Kernel& kernel, uint64_t head, size_t most) {
  Walk walk;
  const KernelTypes::Field* next = kernel.types().Named("list_head").Find("next");
  if (next == nullptr) {
    walk.cut = "is of a form that is not known here";
    return walk;
  }
  std::unordered_set<uint64_t> seen;
  for (uint64_t at = head;;) {
    const auto following = kernel.memory().Load<uint64_t>(at + next->offset);
    if (!following.has_value() || *following == 0) {
      // A node that cannot be read is none.
      if (at != head && !following.has_value()) walk.nodes.pop_back();
      walk.cut = kOutOfMemory;
      return walk;
    }
    if (*following == head) return walk;
    if (!seen.insert(*following).second) {
      walk.cut = kCircle;
      return walk;
    }
    if (walk.nodes.size() >= most) {
      walk.cut = CutAfter(most);
      return walk;
    }
    walk.nodes.push_back(*following);
    at = *following;
  }
}

Walk WalkTree(const Kernel& kernel, uint64_t root, size_t most) {
  Walk walk;
  const KernelTypes::Structure& type = kernel.types().Named("rb_node");
  const KernelTypes::Field* left = type.Find("rb_left");
  const KernelTypes::Field* right = type.Find("rb_right");
  auto at = kernel.memory().Load<uint64_t>(root);
  if (left == nullptr || right == nullptr) {
    walk.cut = "is of a form that is not known here";
    return walk;
  }
  if (!at.has_value()) {
    walk.cut = kOutOfMemory;
    return walk;
  }
  struct Node {
    uint64_t address, right;
  };
  std::vector<Node> above;  // those whose left side is being walked
  std::unordered_set<uint64_t> seen;
  uint64_t node = *at;
  while (node != 0 || !above.empty()) {
    while (node != 0) {
      if (!seen.insert(node).second) {
        walk.cut = kCircle;
        break;
      }
      if (above.size() >= kDeepestTree || seen.size() > most) {
        walk.cut = seen.size() > most ? CutAfter(most) : std::string("is deeper than any tree");
        break;
      }
      const auto its_left = kernel.memory().Load<uint64_t>(node + left->offset);
      const auto its_right = kernel.memory().Load<uint64_t>(node + right->offset);
      if (!its_left || !its_right) {
        walk.cut = kOutOfMemory;
        break;
      }
      above.push_back({node, *its_right});
      node = *its_left;
    }
    if (above.empty()) break;
    walk.nodes.push_back(above.back().address);
    node = above.back().right;
    above.pop_back();
  }
  return walk;
}

Walk WalkHashTable(const Kernel& kernel, uint64_t table, size_t most) {
  Walk walk;
  std::unordered_set<uint64_t> seen;
  auto buckets = KernelStruct(&kernel, "rhashtable", table).Pointed("tbl");
  // Two at most in a table that grows; a chain of more is the guest's own.
  for (int tables = 0; buckets.has_value() && tables < 4; ++tables) {
    WalkBuckets(kernel, *buckets, most, &seen, &walk);
    buckets = buckets->Pointed("future_tbl");
  }
  return walk;
}

}  // namespace stasis
