#include "vmm/base/fuzz/replay.h"

#include <dirent.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace stasis {
namespace {

constexpr size_t kFewestInputs = 20;

std::vector<std::string> Inputs(const std::string& corpus) {
  std::vector<std::string> names;
  DIR* directory = opendir(corpus.c_str());
  if (directory == nullptr) return names;
  while (const dirent* entry = readdir(directory)) {
    const std::string name = entry->d_name;
    if (name[0] != '.' && name != "BUILD.bazel") names.push_back(name);
  }
  closedir(directory);
  return names;
}

}  // namespace

void ReplayCorpus(const std::string& directory) {
  const std::vector<std::string> inputs = Inputs(directory);
  ASSERT_GT(inputs.size(), kFewestInputs) << directory;
  for (const std::string& name : inputs) {
    SCOPED_TRACE(name);
    std::ifstream file(directory + "/" + name, std::ios::binary);
    const std::string bytes((std::istreambuf_iterator<char>(file)), {});
    ASSERT_TRUE(file.good() || file.eof());
    EXPECT_EQ(LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()),
              0);
  }
}

}  // namespace stasis
