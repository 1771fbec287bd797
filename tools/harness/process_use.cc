#include "tools/harness/process_use.h"

#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>

#include "absl/strings/match.h"

namespace stasis {
namespace {

namespace fs = std::filesystem;

template <typename Counts>
int Count(const char* directory, Counts counts) {
  int count = 0;
  std::error_code error;
  for (fs::directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    if (counts(it->path())) ++count;
  }
  return count;
}

}  // namespace

ProcessUse ReadProcessUse() {
  ProcessUse use;
  use.threads = Count("/proc/self/task", [](const fs::path& task) {
    std::string name;
    std::getline(std::ifstream(task / "comm"), name);
    return !absl::StartsWith(name, "iou-");
  });
  // One of them reads the directory.
  use.descriptors = Count("/proc/self/fd", [](const fs::path&) { return true; }) - 1;
  return use;
}

}  // namespace stasis
