#include "tools/harness/progress.h"

#include <fcntl.h>
#include <unistd.h>

#include "gtest/gtest.h"

namespace stasis {
namespace {

// What was written into a pipe.
class ProgressTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_EQ(pipe2(fds_, O_NONBLOCK), 0); }
  void TearDown() override {
    close(fds_[0]);
    close(fds_[1]);
  }
  std::string Written() {
    char buffer[4096];
    const ssize_t got = read(fds_[0], buffer, sizeof(buffer));
    return got > 0 ? std::string(buffer, got) : "";
  }
  int fds_[2];
};

TEST_F(ProgressTest, PlainLinesWhereThereIsNoTerminal) {
  ProgressLine progress(fds_[1], ProgressLine::StyleFor(fds_[1]));

  progress.Stage("booting");
  progress.Detail("1 s");
  progress.Stage("running");

  EXPECT_EQ(Written(), "stasis: booting\nstasis: running\n");
}

TEST_F(ProgressTest, TerminalLineIsRewrittenAndErased) {
  {
    ProgressLine progress(fds_[1], ProgressLine::Style::kTerminal);
    progress.Stage("booting");
    progress.Detail("1 s");
  }

  EXPECT_EQ(Written(), "\r\x1b[Kstasis: booting\r\x1b[Kstasis: booting: 1 s\r\x1b[K");
}

TEST_F(ProgressTest, LineStaysAboveTheUpdatingOne) {
  ProgressLine progress(fds_[1], ProgressLine::Style::kTerminal);
  progress.Stage("a");
  Written();

  progress.Line("note");

  EXPECT_EQ(Written(), "\r\x1b[Kstasis: note\n\r\x1b[Kstasis: a");
}

TEST_F(ProgressTest, SilentWritesNothing) {
  ProgressLine progress(fds_[1], ProgressLine::Style::kSilent);

  progress.Stage("a");
  progress.Detail("b");

  EXPECT_EQ(Written(), "");
}

}  // namespace
}  // namespace stasis
