#include "tools/nested/host_kernel.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <set>
#include <sstream>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace stasis::nested {
namespace {

namespace fs = std::filesystem;

struct Need {
  const char* option;
  const char* module;
};

// In load order. Debian's cloud kernels lack 9P.
constexpr Need kNeeds[] = {
    {"CONFIG_VIRTIO_PCI", "virtio_pci"},      {"CONFIG_VIRTIO_CONSOLE", "virtio_console"},
    {"CONFIG_NET_9P_VIRTIO", "9pnet_virtio"}, {"CONFIG_9P_FS", "9p"},
    {"CONFIG_OVERLAY_FS", "overlay"},         {"CONFIG_KVM_AMD", "kvm_amd"},
};

constexpr char kHowToGetOne[] =
    "run 'stasis kernel fetch 6.1-generic' (Debian's linux-image-amd64) or tools/setup";

std::optional<std::string> ReadFile(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return std::nullopt;
  std::stringstream bytes;
  bytes << file.rdbuf();
  return std::move(bytes).str();
}

// "a/b/kvm-amd.ko.xz" -> "kvm_amd": the kernel takes '-' and '_' for the same.
std::string ModuleName(const std::string& path) {
  std::string name = path.substr(path.rfind('/') + 1);
  name = name.substr(0, name.find(".ko"));
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

// modules.dep: "path: dependency dependency", dependencies nearest first.
std::map<std::string, std::vector<std::string>> ParseDependencies(const std::string& text) {
  std::map<std::string, std::vector<std::string>> modules;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const size_t colon = line.find(':');
    if (colon == std::string::npos) continue;
    std::vector<std::string>& paths = modules[ModuleName(line.substr(0, colon))];
    paths.push_back(line.substr(0, colon));
    std::istringstream words(line.substr(colon + 1));
    for (std::string word; words >> word;) paths.push_back(word);
  }
  return modules;
}

bool BuiltIn(const std::string& config, const std::string& option) {
  return config.find("\n" + option + "=y\n") != std::string::npos;
}

// 6.1 first: the one that was measured; then the others, newest first.
bool Better(const HostKernel& a, const HostKernel& b) {
  const bool a_first = a.release.rfind("6.1.", 0) == 0;
  const bool b_first = b.release.rfind("6.1.", 0) == 0;
  return a_first != b_first ? a_first : a.release > b.release;
}

}  // namespace

absl::StatusOr<HostKernel> ReadHostKernel(const std::string& directory) {
  const fs::path root = directory;
  HostKernel kernel;
  kernel.release = root.filename().string();
  kernel.image = (root / "vmlinuz").string();
  std::error_code error;
  if (!fs::is_regular_file(kernel.image, error)) {
    return absl::NotFoundError(absl::StrCat(directory, ": no vmlinuz"));
  }
  const std::optional<std::string> config = ReadFile(root / "config");
  if (!config) return absl::NotFoundError(absl::StrCat(directory, ": no readable config"));
  const fs::path tree = root / "lib/modules" / kernel.release;
  const auto modules = ParseDependencies(ReadFile(tree / "modules.dep").value_or(""));
  std::set<std::string> taken;
  std::string missing;
  for (const Need& need : kNeeds) {
    if (BuiltIn("\n" + *config, need.option)) continue;
    const auto found = modules.find(need.module);
    if (found == modules.end()) {
      absl::StrAppend(&missing, missing.empty() ? "" : ", ", need.option);
      continue;
    }
    for (auto path = found->second.rbegin(); path != found->second.rend(); ++path) {
      if (taken.insert(*path).second) kernel.modules.push_back((tree / *path).string());
    }
  }
  if (missing.empty()) return kernel;
  return absl::NotFoundError(absl::StrCat(directory, ": lacks ", missing));
}

absl::StatusOr<HostKernel> FindHostKernel(const std::string& name, const std::string& cache) {
  if (!name.empty()) {
    const bool is_path = name.find('/') != std::string::npos;
    return ReadHostKernel(is_path ? name : absl::StrCat(cache, "/", name));
  }
  std::vector<HostKernel> usable;
  std::string refused;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(cache, error)) {
    auto kernel = ReadHostKernel(entry.path().string());
    if (kernel.ok()) {
      usable.push_back(*std::move(kernel));
    } else {
      absl::StrAppend(&refused, "\n  ", kernel.status().message());
    }
  }
  if (usable.empty()) {
    return absl::NotFoundError(
        absl::StrCat("no kernel for the emulated host in ", cache, "; ", kHowToGetOne, refused));
  }
  return *std::min_element(usable.begin(), usable.end(), Better);
}

}  // namespace stasis::nested
