// `stasis top` without a guest: what it says of others' processes and files, and what it does to a
// terminal.
#include <errno.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "tools/stasis/run_stasis.h"

namespace stasis {
namespace {

namespace fs = std::filesystem;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr char kView[] =
    R"({"format":"stasis.live/1","pid":7,"what":"run steady","lane":"kvm","state":"running","tasks":3,
        "cpus":[{"cpu":0,"online":true,"idle":false,"pid":5,"comm":"hog","policy":"normal","depth":2}],
        "waiting":[{"pid":6,"comm":"worker","cpu":0,"waited_ns":1500000000,"policy":"normal"}],
        "waiting_tasks":1,"sched_ext":{"built_in":false}})";
constexpr char kEnter[] = "\x1b[?1049h\x1b[?25l";
constexpr char kLeave[] = "\x1b[?25h\x1b[?1049l";

class TopTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = ::testing::TempDir() + "/top_test.XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    directory_ = name;
    options_.environment["XDG_RUNTIME_DIR"] = directory_;
    view_ = directory_ + "/view.json";
    std::ofstream(view_) << kView;
  }
  void TearDown() override { fs::remove_all(directory_); }

  // Follows the view on a terminal; ends by `key`, or by a signal without one. All that it wrote.
  std::string OnATerminal(char key, int by_signal, int* status) {
    int master = -1;
    winsize size = {24, 80, 0, 0};
    const pid_t child = forkpty(&master, nullptr, nullptr, &size);
    if (child == 0) {
      execl("tools/stasis/stasis", "stasis", "top", view_.c_str(), nullptr);
      _exit(127);
    }
    std::string text;
    bool sent = false;
    for (int i = 0; i < 400; ++i) {
      pollfd ready = {master, POLLIN, 0};
      if (poll(&ready, 1, 50) > 0) {
        char bytes[4096];
        const ssize_t got = read(master, bytes, sizeof(bytes));
        if (got <= 0) break;  // EIO: the child has gone
        text.append(bytes, static_cast<size_t>(got));
      }
      if (!sent && text.find("worker") != std::string::npos) {
        sent = true;
        if (key != 0) {
          EXPECT_EQ(write(master, &key, 1), 1);
        } else {
          kill(child, by_signal);
        }
      }
    }
    close(master);
    waitpid(child, status, 0);
    return text;
  }

  std::string directory_;
  std::string view_;
  RunStasisOptions options_;
};

TEST_F(TopTest, WithoutAGuestItSaysWhatToStart) {
  const StasisRun run = RunStasis({"top"}, options_);

  EXPECT_EQ(run.exit_code, 2);
  EXPECT_EQ(run.error,
            "USAGE: no stasis of this user runs a guest; start 'stasis run' or 'stasis shell' first\n");
}

TEST_F(TopTest, ProcessThatIsNotThereIsNamed) {
  const StasisRun run = RunStasis({"top", "4194400"}, options_);

  EXPECT_EQ(run.exit_code, 2);
  EXPECT_EQ(run.error, "USAGE: no process 4194400\n");
}

TEST_F(TopTest, ProcessThatIsNoStasisIsNamed) {
  const StasisRun run = RunStasis({"top", absl::StrCat(getpid())}, options_);

  EXPECT_EQ(run.exit_code, 2);
  EXPECT_THAT(run.error, HasSubstr("is no stasis; give the process id of 'stasis run'"));
}

TEST_F(TopTest, FileIsShownOnceWithoutEscapeCodes) {
  const StasisRun run = RunStasis({"top", "--once", view_}, options_);

  EXPECT_EQ(run.exit_code, 0) << run.error;
  EXPECT_THAT(run.output, StartsWith("stasis 7  run steady"));
  EXPECT_THAT(run.output, HasSubstr("1.50 s"));
  EXPECT_THAT(run.output, Not(HasSubstr("\x1b")));
}

TEST_F(TopTest, ViewIsGivenAsJson) {
  const StasisRun run = RunStasis({"top", "--json", view_}, options_);

  EXPECT_EQ(run.exit_code, 0) << run.error;
  EXPECT_THAT(run.output, HasSubstr("\"waited_ns\": 1500000000"));
}

TEST_F(TopTest, WhatIsNoViewIsRefusedWithItsName) {
  std::ofstream(view_) << "{}";

  for (const char* how : {"--once", "--json"}) {
    const StasisRun run = RunStasis({"top", how, view_}, options_);
    EXPECT_EQ(run.exit_code, 2);
    EXPECT_THAT(run.error, HasSubstr("view.json: not what a running stasis shows"));
  }
  EXPECT_EQ(RunStasis({"top", view_}, options_).exit_code, 2);
  EXPECT_EQ(RunStasis({"top", directory_ + "/none"}, options_).exit_code, 2);
}

TEST_F(TopTest, TerminalIsPutBackByTheKeyThatLeaves) {
  int status = 0;

  const std::string text = OnATerminal('q', 0, &status);

  EXPECT_THAT(text, StartsWith(kEnter));
  EXPECT_THAT(text, EndsWith(kLeave));
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
}

TEST_F(TopTest, TerminalIsPutBackWhenASignalEndsIt) {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    int status = 0;

    const std::string text = OnATerminal(0, signal, &status);

    EXPECT_THAT(text, HasSubstr(kLeave)) << signal;
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == signal) << status;
  }
}

}  // namespace
}  // namespace stasis
