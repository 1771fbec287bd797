#include "tools/harness/files.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>

#include <filesystem>

#include "gtest/gtest.h"

namespace stasis {
namespace {

class FilesTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "/files_test.XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    directory_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }
  size_t Entries() const {
    return std::distance(std::filesystem::directory_iterator(directory_),
                         std::filesystem::directory_iterator());
  }
  std::string directory_;
};

TEST_F(FilesTest, WrittenFileIsReadBack) {
  const std::string path = directory_ + "/a.json";

  ASSERT_TRUE(WriteFileAtomically(path, "{}\n").ok());
  ASSERT_TRUE(WriteFileAtomically(path, "{\"a\":1}\n").ok());

  absl::StatusOr<std::string> back = ReadWholeFile(path, 1000);
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(*back, "{\"a\":1}\n");
  EXPECT_EQ(Entries(), 1u);
}

TEST_F(FilesTest, MissingDirectoryIsNamed) {
  absl::Status status = WriteFileAtomically(directory_ + "/no/such.json", "x");

  EXPECT_FALSE(status.ok());
  EXPECT_NE(status.message().find("no/such.json"), std::string::npos);
}

TEST_F(FilesTest, FailedWriteLeavesTheOldFileAndNothingElse) {
  const std::string path = directory_ + "/a.json";
  ASSERT_TRUE(WriteFileAtomically(path, "old").ok());
  rlimit old_limit;
  getrlimit(RLIMIT_FSIZE, &old_limit);
  rlimit small = old_limit;
  small.rlim_cur = 100;
  signal(SIGXFSZ, SIG_IGN);
  setrlimit(RLIMIT_FSIZE, &small);

  absl::Status status = WriteFileAtomically(path, std::string(5000, 'x'));

  setrlimit(RLIMIT_FSIZE, &old_limit);
  EXPECT_FALSE(status.ok());
  EXPECT_EQ(*ReadWholeFile(path, 1000), "old");
  EXPECT_EQ(Entries(), 1u);
}

TEST_F(FilesTest, FileAboveTheLimitIsRefused) {
  const std::string path = directory_ + "/big";
  ASSERT_TRUE(WriteFileAtomically(path, std::string(2000, 'x')).ok());

  EXPECT_TRUE(absl::IsResourceExhausted(ReadWholeFile(path, 1999).status()));
  EXPECT_TRUE(ReadWholeFile(path, 2000).ok());
}

TEST_F(FilesTest, RelativePathBecomesAbsolute) {
  EXPECT_EQ(AbsolutePath("/a/./b/../c"), "/a/c");
  EXPECT_EQ(AbsolutePath("x"), (std::filesystem::current_path() / "x").string());
  EXPECT_EQ(AbsolutePath(""), "");
}

}  // namespace
}  // namespace stasis
