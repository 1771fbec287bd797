#include "tools/bench/timed_command.h"

#include "gtest/gtest.h"

namespace stasis::bench {
namespace {

TEST(TimedCommandTest, OutputExitCodeAndTimesAreThoseOfTheCommand) {
  const auto slept = RunTimed({"sh", "-c", "echo out; sleep 0.2; exit 3"});
  const auto spun =
      RunTimed({"sh", "-c", "i=0; while [ $i -lt 100000 ]; do i=$((i + 1)); done"});

  ASSERT_TRUE(slept.ok()) << slept.status();
  EXPECT_EQ(slept->output, "out\n");
  EXPECT_EQ(slept->exit_code, 3);
  EXPECT_GE(slept->wall, absl::Milliseconds(200));
  ASSERT_TRUE(spun.ok()) << spun.status();
  EXPECT_GT(spun->cpu, absl::Milliseconds(5));
}

TEST(TimedCommandTest, CommandThatASignalKilledSaysWhich) {
  const auto killed = RunTimed({"sh", "-c", "kill -9 $$"});

  ASSERT_TRUE(killed.ok()) << killed.status();
  EXPECT_EQ(killed->exit_code, 128 + 9);
}

TEST(TimedCommandTest, CommandThatIsNotThereIsAnError) {
  EXPECT_TRUE(absl::IsAborted(RunTimed({"/no/such/program"}).status()));
}

}  // namespace
}  // namespace stasis::bench
