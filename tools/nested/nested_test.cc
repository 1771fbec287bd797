#include "tools/nested/nested.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "absl/strings/match.h"

namespace stasis {
namespace {

// Bad options are refused before anything is looked for or started.
absl::Status Refusal(const NestedOptions& options) { return RunNested(options).status(); }

TEST(NestedOptionsTest, RelativeProgramIsRefused) {
  const absl::Status status = Refusal({.argv = {"sh"}});

  ASSERT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), "absolute path"));
}

TEST(NestedOptionsTest, FileThatOnlyThisMachineHasIsRefusedNamingIt) {
  const absl::Status status = Refusal({.argv = {"/bin/true"}, .readable = {"/proc/self/status"}});

  ASSERT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), "/proc/self/status"));
}

TEST(NestedOptionsTest, MissingWritableDirectoryIsRefusedNamingIt) {
  const absl::Status status = Refusal({.argv = {"/bin/true"}, .writable = {"/nowhere/out"}});

  ASSERT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), "/nowhere/out: No such file or directory"));
}

TEST(NestedOptionsTest, TheWholeTreeCannotBeWritable) {
  const absl::Status status = Refusal({.argv = {"/bin/true"}, .writable = {"/"}});

  ASSERT_TRUE(absl::IsInvalidArgument(status)) << status;
}

TEST(NestedOptionsTest, FileIsNoWritableDirectory) {
  const absl::Status status = Refusal({.argv = {"/bin/true"}, .writable = {"/bin/sh"}});

  ASSERT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), "is not a directory"));
}

TEST(CheckNestedTest, EmulatorThatIsNotInPathIsMissingWithItsPackage) {
  const std::string path = std::getenv("PATH");
  setenv("PATH", testing::TempDir().c_str(), 1);

  const absl::Status status = CheckNested({});
  setenv("PATH", path.c_str(), 1);

  ASSERT_TRUE(absl::IsNotFound(status)) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), "qemu-system-x86"));
}

TEST(InNestedTest, OnlyTheEnvironmentDecides) {
  unsetenv("STASIS_IN_NESTED");
  EXPECT_FALSE(InNested());
  setenv("STASIS_IN_NESTED", "1", 1);
  EXPECT_TRUE(InNested());
  unsetenv("STASIS_IN_NESTED");
}

}  // namespace
}  // namespace stasis
