#include "devices/block/backing_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <string>

namespace stasis {
namespace {

std::string MakeFile(const std::string& name, uint64_t size) {
  const std::string path = testing::TempDir() + "/" + name;
  FileDescriptor fd(open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  EXPECT_TRUE(fd.valid());
  EXPECT_EQ(ftruncate(fd.get(), size), 0);
  return path;
}

// The message of a refusal, which must name the path.
std::string Refusal(const std::string& path, const BackingFile::Options& options = {}) {
  auto file = BackingFile::Open(path, options);
  EXPECT_FALSE(file.ok());
  const std::string message(file.status().message());
  EXPECT_NE(message.find(path), std::string::npos) << message;
  return message;
}

TEST(BackingFileTest, B11_SizeIsRoundedDownToSectors) {
  auto file = BackingFile::Open(MakeFile("odd", 5 * 512 + 511), {});
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ((*file)->size(), 5u * 512);
  EXPECT_GE((*file)->physical_block(), (*file)->logical_block());
  EXPECT_EQ((*file)->logical_block(), 512u);
}

TEST(BackingFileTest, B11_MissingEmptyAndWrongKindsOfFilesAreRefusedWithThePath) {
  EXPECT_NE(Refusal(testing::TempDir() + "/none").find("No such file"), std::string::npos);
  EXPECT_NE(Refusal(MakeFile("short", 511)).find("less than one sector"), std::string::npos);
  EXPECT_NE(Refusal("/dev/null").find("neither"), std::string::npos);
  EXPECT_NE(Refusal(testing::TempDir(), {.read_only = true}).find("neither"), std::string::npos);
}

TEST(BackingFileTest, B11_AFifoIsRefusedAndNotWaitedFor) {
  const std::string path = testing::TempDir() + "/fifo";
  unlink(path.c_str());
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  EXPECT_NE(Refusal(path, {.read_only = true}).find("neither"), std::string::npos);
}

TEST(BackingFileTest, B11_ASecondWriterIsRefusedUntilTheFirstIsGone) {
  const std::string path = MakeFile("locked", 4096);
  auto first = BackingFile::Open(path, {});
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_NE(Refusal(path).find("locked"), std::string::npos);
  EXPECT_NE(Refusal(path, {.read_only = true}).find("a writer"), std::string::npos);
  first->reset();
  EXPECT_TRUE(BackingFile::Open(path, {}).ok());
}

TEST(BackingFileTest, B11_ReadersShareAndExcludeWriters) {
  const std::string path = MakeFile("shared", 4096);
  auto first = BackingFile::Open(path, {.read_only = true});
  auto second = BackingFile::Open(path, {.read_only = true});
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_TRUE((*second)->read_only());
  EXPECT_NE(Refusal(path).find("another machine"), std::string::npos);
}

TEST(BackingFileTest, B11_DirectIoIsAskedForAndAlignmentReported) {
  const std::string path = MakeFile("direct", 1 << 20);
  auto file = BackingFile::Open(path, {.direct = true});
  if (!file.ok()) {
    EXPECT_NE(file.status().message().find("leave out 'direct'"), absl::string_view::npos);
    GTEST_SKIP() << "no O_DIRECT below " << testing::TempDir();
  }
  EXPECT_NE(fcntl((*file)->fd(), F_GETFL) & O_DIRECT, 0);
  EXPECT_GE((*file)->logical_block(), 512u);
}

TEST(BackingFileTest, B11_AScratchDiskIsZeroesOfTheSizeAskedFor) {
  auto file = BackingFile::CreateScratch((64 << 20) + 100);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ((*file)->size(), 64u << 20);
  char bytes[512];
  ASSERT_EQ(pread((*file)->fd(), bytes, sizeof(bytes), 32 << 20), 512);
  EXPECT_EQ(std::string(bytes, sizeof(bytes)), std::string(512, '\0'));
  EXPECT_FALSE(BackingFile::CreateScratch(100).ok());
  EXPECT_FALSE(BackingFile::CreateScratch(UINT64_MAX).ok());
}

}  // namespace
}  // namespace stasis
