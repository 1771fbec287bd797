#include "tools/kernels/command_runner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace stasis {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(CommandRunnerTest, OutputErrorOutputAndExitCodeComeBack) {
  auto result = MakeCommandRunner()->Run({{"sh", "-c", "echo out; echo err >&2; exit 3"}});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->exit_code, 3);
  EXPECT_EQ(result->output, "out\n");
  EXPECT_EQ(result->error_output, "err\n");
}

TEST(CommandRunnerTest, LinesComeOneByOneAndTheLastNeedsNoNewline) {
  std::vector<std::string> lines;
  Command command;
  command.argv = {"printf", "one\\ntwo\\nthree"};
  command.on_line = [&](absl::string_view line) { lines.emplace_back(line); };
  ASSERT_TRUE(MakeCommandRunner()->Run(command).ok());
  EXPECT_THAT(lines, ElementsAre("one", "two", "three"));
}

TEST(CommandRunnerTest, EnvironmentAndWorkingDirectoryAreSet) {
  Command command;
  command.argv = {"sh", "-c", "echo $STASIS_X; pwd"};
  command.environment = {{"STASIS_X", "seen"}};
  command.working_directory = "/";
  EXPECT_EQ(MakeCommandRunner()->Run(command)->output, "seen\n/\n");
}

TEST(CommandRunnerTest, ASignalIsTheShellsExitCode) {
  EXPECT_EQ(MakeCommandRunner()->Run({{"sh", "-c", "kill -9 $$"}})->exit_code, 137);
}

TEST(CommandRunnerTest, AMissingProgramIsNamed) {
  const auto status = MakeCommandRunner()->Run({{"no-such-program-of-stasis"}}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("start no-such-program-of-stasis"));
}

TEST(CommandRunnerTest, AMissingWorkingDirectoryIsAnError) {
  Command command;
  command.argv = {"true"};
  command.working_directory = "/no/such/folder";
  EXPECT_FALSE(MakeCommandRunner()->Run(command).ok());
}

TEST(CommandRunnerTest, MuchOutputOnBothStreamsDoesNotBlock) {
  auto result = MakeCommandRunner()->Run(
      {{"sh", "-c", "head -c 3000000 /dev/zero; head -c 3000000 /dev/zero >&2"}});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->output.size(), 3000000u);
  EXPECT_LE(result->error_output.size(), 200000u);
}

TEST(RunOrFailTest, TheReasonIsTheTellingLine) {
  auto runner = MakeCommandRunner();
  const auto status =
      RunOrFail(*runner, {{"sh", "-c", "echo 'E: broken pin' >&2; echo done >&2; exit 100"}},
                "lists")
          .status();
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("lists: sh failed (exit code 100): E: broken pin"));
}

TEST(RunOrFailTest, AFullDiskIsResourceExhausted) {
  auto runner = MakeCommandRunner();
  const auto status =
      RunOrFail(*runner, {{"sh", "-c", "echo 'x: No space left on device' >&2; exit 2"}}, "unpack")
          .status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace stasis
