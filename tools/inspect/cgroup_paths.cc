#include "tools/inspect/cgroup_paths.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace stasis {
namespace {

constexpr int kMostDepth = 64;

}  // namespace

const std::string& CgroupPaths::Of(uint64_t address) {
  const auto [entry, is_new] = known_.try_emplace(address);
  if (is_new) entry->second = Read(address);
  return entry->second;
}

std::string CgroupPaths::Read(uint64_t address) const {
  if (address == 0) return "/";
  auto node = KernelStruct(&kernel_, "cgroup", address).Pointed("kn");
  std::vector<std::string> names;
  for (int depth = 0; node.has_value() && depth < kMostDepth; ++depth) {
    const auto parent = node->Pointed({"__parent", "parent"});
    if (!parent.has_value()) break;  // the root has no name of its own
    names.push_back(node->Text("name"));
    node = parent;
  }
  std::reverse(names.begin(), names.end());
  return absl::StrCat("/", absl::StrJoin(names, "/"));
}

}  // namespace stasis
