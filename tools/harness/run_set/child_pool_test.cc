#include "tools/harness/run_set/child_pool.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace stasis {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

ChildCommand Shell(const std::string& script) { return {.argv = {"/bin/sh", "-c", script}}; }

TEST(ChildPoolTest, OutputErrorAndExitCodeComeBackInOrder) {
  const auto result =
      RunChildren({Shell("echo one; echo oops >&2; exit 3"), Shell("echo two")}, 2, {});

  ASSERT_TRUE(result.ok());
  EXPECT_FALSE(result->interrupted);
  EXPECT_EQ(result->children[0].exit_code, 3);
  EXPECT_EQ(result->children[0].output, "one\n");
  EXPECT_EQ(result->children[0].error, "oops\n");
  EXPECT_EQ(result->children[1].exit_code, 0);
  EXPECT_EQ(result->children[1].output, "two\n");
}

TEST(ChildPoolTest, MoreOutputThanAPipeHoldsIsTakenAndItsEndKept) {
  const auto result = RunChildren({Shell("yes long line | head -c 6000000; echo last")}, 1, {});

  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->children[0].exit_code, 0);
  EXPECT_EQ(result->children[0].output.size(), size_t{4} << 20);
  EXPECT_TRUE(result->children[0].output.ends_with("last\n"));
}

TEST(ChildPoolTest, NoMoreThanJobsRunAtATime) {
  size_t now = 0;
  size_t most = 0;
  const PoolCallbacks callbacks = {
      .on_start = [&](size_t) { most = std::max(most, ++now); },
      .on_end = [&](size_t, const ChildResult&) { --now; },
  };
  const std::vector<ChildCommand> commands(6, Shell("sleep 0.05"));

  ASSERT_TRUE(RunChildren(commands, 2, callbacks).ok());

  EXPECT_EQ(most, 2u);
  EXPECT_EQ(now, 0u);
}

TEST(ChildPoolTest, LinesOfErrorArePassedOnAsTheyCome) {
  std::vector<std::string> lines;
  const PoolCallbacks callbacks = {.on_error_line = [&](size_t index, absl::string_view line) {
    lines.push_back(absl::StrCat(index, ":", line));
  }};

  ASSERT_TRUE(
      RunChildren({Shell("printf 'a\\nb' >&2; sleep 0.1; printf 'c\\n' >&2")}, 1, callbacks).ok());

  EXPECT_THAT(lines, ElementsAre("0:a", "0:bc"));
}

TEST(ChildPoolTest, EnvironmentIsSetAndTakenAway) {
  setenv("CHILD_POOL_AWAY", "there", 1);
  ChildCommand command = Shell("echo ${CHILD_POOL_AWAY-away} $CHILD_POOL_SET");
  command.environment = {{"CHILD_POOL_AWAY", std::nullopt}, {"CHILD_POOL_SET", "set"}};

  const auto result = RunChildren({command}, 1, {});

  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->children[0].output, "away set\n");
}

TEST(ChildPoolTest, ProgramThatIsNotThereEndsAsInAShell) {
  const auto result = RunChildren({{.argv = {"/no/such/program"}}}, 1, {});

  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->children[0].exit_code, 127);
  EXPECT_THAT(result->children[0].error, HasSubstr("/no/such/program: ENOENT"));
}

TEST(ChildPoolTest, ChildKilledByASignalIsSaidSo) {
  const auto result = RunChildren({Shell("kill -SEGV $$")}, 1, {});

  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->children[0].exit_code, 128 + SIGSEGV);
}

TEST(ChildPoolTest, InterruptReachesAllChildrenAndStartsNoMore) {
  // The signal comes once both have set their trap, which they say.
  int ready = 0;
  const PoolCallbacks callbacks = {.on_error_line = [&](size_t, absl::string_view) {
    if (++ready == 2) kill(getpid(), SIGINT);
  }};
  const std::string wait = "trap 'exit 42' INT; echo ready >&2; while :; do sleep 0.01; done";

  const auto result =
      RunChildren({Shell(wait), Shell(wait), Shell("echo never")}, 2, callbacks);

  ASSERT_TRUE(result.ok());
  EXPECT_TRUE(result->interrupted);
  EXPECT_EQ(result->children[0].exit_code, 42);
  EXPECT_EQ(result->children[1].exit_code, 42);
  EXPECT_FALSE(result->children[2].started);
}

TEST(ChildPoolTest, ChildThatDoesNotHearIsKilledWithItsGroup) {
  // The shell and the one that it started both ignore the signal.
  const PoolCallbacks callbacks = {
      .on_error_line = [&](size_t, absl::string_view) { kill(getpid(), SIGTERM); }};
  const std::string deaf =
      "trap '' TERM; sh -c 'trap \"\" TERM; echo $$; echo ready >&2; while :; do sleep 1; done'; :";

  const auto result = RunChildren({Shell(deaf)}, 1, callbacks, absl::Milliseconds(200));

  ASSERT_TRUE(result.ok());
  EXPECT_TRUE(result->interrupted);
  EXPECT_EQ(result->children[0].exit_code, 128 + SIGKILL);
  int grandchild = 0;
  ASSERT_TRUE(absl::SimpleAtoi(result->children[0].output, &grandchild));
  // Killed, but perhaps not yet reaped by whoever inherited it.
  for (int i = 0; i < 100 && kill(grandchild, 0) == 0; ++i) usleep(20'000);
  std::string state = absl::StrCat("/proc/", grandchild, "/cmdline");
  FILE* file = fopen(state.c_str(), "r");
  char first;
  EXPECT_TRUE(file == nullptr || fread(&first, 1, 1, file) == 0) << "pid " << grandchild;
  if (file != nullptr) fclose(file);
}

TEST(ChildPoolTest, SignalThatIsIgnoredStaysSo) {
  signal(SIGHUP, SIG_IGN);
  const PoolCallbacks callbacks = {
      .on_error_line = [&](size_t, absl::string_view) { kill(getpid(), SIGHUP); }};

  const auto result = RunChildren({Shell("echo ready >&2; sleep 0.1; kill -HUP $$; exit 5")}, 1,
                                  callbacks);
  signal(SIGHUP, SIG_DFL);

  ASSERT_TRUE(result.ok());
  EXPECT_FALSE(result->interrupted);
  EXPECT_EQ(result->children[0].exit_code, 5);
}

TEST(ChildPoolTest, SignalsAreOursAgainAfterwards) {
  ASSERT_TRUE(RunChildren({Shell("true")}, 1, {}).ok());

  sigset_t now;
  pthread_sigmask(SIG_SETMASK, nullptr, &now);
  EXPECT_EQ(sigismember(&now, SIGINT), 0);
}

}  // namespace
}  // namespace stasis
