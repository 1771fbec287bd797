#include "tools/inspect/dump_file.h"

#include <gtest/gtest.h>

#include "absl/strings/match.h"
#include "tools/inspect/testing/core_builder.h"

namespace stasis {
namespace {

std::string PathOf(const char* name) { return testing::TempDir() + "/" + name; }

TEST(DumpFileTest, NotesMemoryAndFactsAreRead) {
  CoreBuilder core(8192);
  core.Store<uint64_t>(4090, 0x1122334455667788);
  core.AddVmcoreInfo("OSRELEASE=6.1.0\n");
  core.AddFacts(R"({"format": "stasis.dump/1"})");
  const std::string path = CoreBuilder::Write(PathOf("whole"), core.Bytes());

  const auto dump = DumpFile::Open(path);

  ASSERT_TRUE(dump.ok()) << dump.status();
  EXPECT_EQ((*dump)->notes().size(), 2u);
  EXPECT_EQ((*dump)->vmcoreinfo(), "OSRELEASE=6.1.0\n");
  EXPECT_EQ((*dump)->facts()["format"], "stasis.dump/1");
  uint64_t value = 0;
  EXPECT_TRUE((*dump)->ReadPhysical(4090, &value, sizeof(value)));
  EXPECT_EQ(value, 0x1122334455667788u);
  EXPECT_FALSE((*dump)->ReadPhysical(8190, &value, sizeof(value)));
}

TEST(DumpFileTest, FileOfAnotherKindIsRefused) {
  const auto text = DumpFile::Open(CoreBuilder::Write(PathOf("text"), "no dump at all"));
  const auto empty = DumpFile::Open(CoreBuilder::Write(PathOf("empty"), ""));
  const auto missing = DumpFile::Open(PathOf("missing"));

  EXPECT_TRUE(absl::StrContains(text.status().message(), "not a dump")) << text.status();
  EXPECT_TRUE(absl::StrContains(empty.status().message(), "not a dump")) << empty.status();
  EXPECT_TRUE(absl::IsNotFound(missing.status())) << missing.status();
}

TEST(DumpFileTest, EveryTruncationIsRefusedOrReadsNothingBeyond) {
  CoreBuilder core(64);
  core.AddVmcoreInfo("OSRELEASE=6.1.0\n");
  core.AddFacts(R"({"format": "stasis.dump/1"})");
  const std::string bytes = core.Bytes();

  for (size_t length = 0; length < bytes.size(); ++length) {
    const auto dump = DumpFile::Open(CoreBuilder::Write(PathOf("cut"), bytes.substr(0, length)));
    EXPECT_TRUE(absl::IsInvalidArgument(dump.status())) << length << " " << dump.status();
  }
}

TEST(DumpFileTest, NoteLongerThanTheNotesIsRefused) {
  CoreBuilder core(64);
  core.AddVmcoreInfo("OSRELEASE=6.1.0\n");
  std::string bytes = core.Bytes();
  bytes[sizeof(Elf64_Ehdr) + 2 * sizeof(Elf64_Phdr) + 4] = '\x7f';  // n_descsz

  const auto dump = DumpFile::Open(CoreBuilder::Write(PathOf("note"), bytes));

  EXPECT_TRUE(absl::StrContains(dump.status().message(), "damaged")) << dump.status();
}

}  // namespace
}  // namespace stasis
