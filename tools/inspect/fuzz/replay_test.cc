// Runs the fuzz target once over every input of the corpus: what the fuzzer found stays mended.
#include <dirent.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace stasis {
namespace {

constexpr char kCorpus[] = "testdata/fuzz/inspect";

std::vector<std::string> Inputs() {
  std::vector<std::string> names;
  DIR* directory = opendir(kCorpus);
  if (directory == nullptr) return names;
  while (const dirent* entry = readdir(directory)) {
    const std::string name = entry->d_name;
    if (name[0] != '.' && name != "BUILD.bazel") names.push_back(name);
  }
  closedir(directory);
  return names;
}

TEST(InspectFuzzReplayTest, EveryInputOfTheCorpusIsReadToItsEndAndShownHarmlessly) {
  const std::vector<std::string> inputs = Inputs();
  ASSERT_GT(inputs.size(), 20u) << kCorpus;
  for (const std::string& name : inputs) {
    SCOPED_TRACE(name);
    std::ifstream file(std::string(kCorpus) + "/" + name, std::ios::binary);
    const std::string bytes((std::istreambuf_iterator<char>(file)), {});
    ASSERT_TRUE(file.good() || file.eof());
    EXPECT_EQ(LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()),
              0);
  }
}

}  // namespace
}  // namespace stasis
