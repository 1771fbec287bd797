// The real lane: programs run in an emulated host on this machine.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "absl/strings/match.h"
#include "tools/nested/nested.h"

namespace stasis {
namespace {

namespace fs = std::filesystem;

std::string Contents(const fs::path& path) {
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

class LaneTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const absl::Status status = CheckNested({}); !status.ok()) {
      GTEST_SKIP() << status.message();
    }
    scratch_ = fs::path(testing::TempDir()) /
               testing::UnitTest::GetInstance()->current_test_info()->name();
    fs::create_directories(scratch_ / "out");
    options_.env = {{"PATH", "/usr/bin:/bin"}};
    options_.writable = {(scratch_ / "out").string()};
    options_.time_limit = absl::Minutes(4);
    options_.retry_hang = true;
    std::ofstream(scratch_ / "in") << "from outside\n";
    options_.stdin_fd = open((scratch_ / "in").c_str(), O_RDONLY | O_CLOEXEC);
    options_.stdout_fd = Create("stdout");
    options_.stderr_fd = Create("stderr");
  }
  int Create(const char* name) {
    return open((scratch_ / name).c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0644);
  }
  void TearDown() override {
    for (int fd : {options_.stdin_fd, options_.stdout_fd, options_.stderr_fd}) {
      if (fd > 2) close(fd);
    }
    if (!scratch_.empty()) fs::remove_all(scratch_);
  }

  fs::path scratch_;
  NestedOptions options_;
};

TEST_F(LaneTest, ProgramHasKvmStreamsExitCodeAndFilesAsIfItRanHere) {
  options_.argv = {
      "/bin/sh", "-c",
      "test -c /dev/kvm && echo kvm; cat; echo words >&2; echo kept > \"$1/out/file\"; "
      "echo lost > /tmp/stasis-lane-test-lost; test \"$STASIS_IN_NESTED\" = 1 || exit 1; "
      "head -c 300000 /dev/zero | tr '\\0' x > \"$1/out/large\"; "
      "touch \"$1/not-shared\" 2>/dev/null && test \"${1#/tmp}\" = \"$1\" && exit 2; "
      "exit 42",
      "sh", scratch_.string()};

  const auto result = RunNested(options_);

  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->exit_code, 42);
  EXPECT_EQ(Contents(scratch_ / "stdout"), "kvm\nfrom outside\n");
  EXPECT_EQ(Contents(scratch_ / "stderr"), "words\n");
  EXPECT_EQ(Contents(scratch_ / "out/file"), "kept\n");
  EXPECT_EQ(Contents(scratch_ / "out/large"), std::string(300000, 'x'));
  EXPECT_FALSE(fs::exists("/tmp/stasis-lane-test-lost"));
  EXPECT_FALSE(fs::exists(scratch_ / "not-shared"));
  EXPECT_GT(result->start_up, absl::ZeroDuration());
  RecordProperty("start_up", absl::FormatDuration(result->start_up));
}

TEST_F(LaneTest, StandstillOfTheHostIsAFaultOfTheLaneWithItsRegisters) {
  // The kernel's own crash switch with panic=0 on top: a host that stands still.
  options_.argv = {"/bin/sh", "-c",
                   "echo 0 > /proc/sys/kernel/panic; echo 1 > /proc/sys/kernel/sysrq; "
                   "echo c > /proc/sysrq-trigger; sleep 1000"};
  options_.silence_limit = absl::Seconds(10);
  options_.retry_hang = false;
  options_.evidence_directory = scratch_.string();

  const auto result = RunNested(options_);

  ASSERT_TRUE(absl::IsUnavailable(result.status())) << result.status();
  EXPECT_TRUE(absl::StrContains(result.status().message(), "no heartbeat for 10s"))
      << result.status();
  std::string evidence;
  for (const auto& entry : fs::directory_iterator(scratch_)) {
    if (entry.path().extension() == ".log") evidence = Contents(entry.path());
  }
  EXPECT_TRUE(absl::StrContains(evidence, "sysrq triggered crash")) << evidence;
  EXPECT_TRUE(absl::StrContains(evidence, "sample 3: info registers"));
  EXPECT_TRUE(absl::StrContains(evidence, "RIP="));
}

TEST_F(LaneTest, ProgramThatIsNotThereIsNamed) {
  options_.argv = {"/nowhere/program"};

  const auto result = RunNested(options_);

  ASSERT_TRUE(absl::IsFailedPrecondition(result.status())) << result.status();
  EXPECT_TRUE(absl::StrContains(result.status().message(),
                                "execute /nowhere/program: No such file or directory"))
      << result.status();
}

}  // namespace
}  // namespace stasis
