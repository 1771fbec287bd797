#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "guest/scenario/parser.h"

namespace stasis {
namespace {

absl::StatusOr<Scenario> Parse(const std::string& scheduler,
                               const std::string& expect = "max_gap = \"1s\"",
                               const std::string& file = "dir/x.toml") {
  return ParseScenario(absl::StrCat("duration = \"1s\"\n", scheduler,
                                    "\n[[cgroup]]\nname = \"a\"\nwork = [{ kind = \"cpu_spin\" }]\n"
                                    "[expect]\n",
                                    expect, "\n"),
                       file);
}

std::string ErrorOf(const std::string& scheduler, const std::string& expect = "max_gap = \"1s\"") {
  auto scenario = Parse(scheduler, expect);
  return scenario.ok() ? "ok" : std::string(scenario.status().message());
}

#define EXPECT_ERROR(text, part) \
  EXPECT_TRUE(absl::StrContains(text, part)) << "the message is: " << (text)

TEST(SchedulerParserTest, WithoutTheTableThereIsNone) {
  EXPECT_FALSE(Parse("")->scheduler.has_value());
}

TEST(SchedulerParserTest, EveryKeyIsRead) {
  auto scenario = Parse(R"([scheduler]
name = "scx_simple"
args = ["-f", "-v"]
ops = "simple"
attach_limit = "7s")");

  ASSERT_TRUE(scenario.ok()) << scenario.status();
  const SchedulerSpec& scheduler = *scenario->scheduler;
  EXPECT_EQ(scheduler.name, "scx_simple");
  EXPECT_EQ(scheduler.args, (std::vector<std::string>{"-f", "-v"}));
  EXPECT_EQ(scheduler.ops, "simple");
  EXPECT_EQ(scheduler.attach_limit, absl::Seconds(7));
}

TEST(SchedulerParserTest, PathIsRelativeToTheScenario) {
  EXPECT_EQ(Parse("[scheduler]\npath = \"bin/s\"")->scheduler->path, "dir/bin/s");
  EXPECT_EQ(Parse("[scheduler]\npath = \"/bin/s\"")->scheduler->path, "/bin/s");
  EXPECT_EQ(Parse("[scheduler]\npath = \"s\"", "max_gap = \"1s\"", "x.toml")->scheduler->path, "s");
}

TEST(SchedulerParserTest, ExactlyOneOfPathAndName) {
  EXPECT_ERROR(ErrorOf("[scheduler]\nargs = []"),
               "dir/x.toml:2:1: [scheduler] needs either 'path'");
  EXPECT_ERROR(ErrorOf("[scheduler]\npath = \"a\"\nname = \"b\""), "needs either 'path'");
}

TEST(SchedulerParserTest, MistakesAreNamedWithTheirPlace) {
  EXPECT_ERROR(ErrorOf("[scheduler]\npaht = \"x\""), "dir/x.toml:3:1: unknown key 'paht'");
  EXPECT_ERROR(ErrorOf("[scheduler]\nname = \"a/b\""), "a file is named by 'path'");
  EXPECT_ERROR(ErrorOf("[scheduler]\npath = \"\""), "'path': empty");
  EXPECT_ERROR(ErrorOf("[scheduler]\nname = 7"), "'name': expected a string");
  EXPECT_ERROR(ErrorOf("[scheduler]\nname = \"a\"\nops = \"\""), "'ops'");
  EXPECT_ERROR(ErrorOf("[scheduler]\nname = \"a\"\nattach_limit = \"0s\""), "longer than 0");
  EXPECT_ERROR(ErrorOf("[scheduler]\nname = \"a\"\nargs = [1]"), "'args': expected a string");
}

TEST(SchedulerParserTest, EndOfTheSchedulerMayBeWhatShouldBeSeen) {
  auto scenario = Parse("[scheduler]\nname = \"a\"", "should_fail = \"stall\"");

  ASSERT_TRUE(scenario.ok()) << scenario.status();
  EXPECT_EQ(scenario->expect.should_fail, "stall");
  EXPECT_TRUE(Parse("[scheduler]\nname = \"a\"", "should_fail = \"scheduler\"").ok());
  EXPECT_TRUE(Parse("[scheduler]\nname = \"a\"", "should_fail = \"scheduler_load\"").ok());
}

TEST(SchedulerParserTest, EndOfASchedulerThatIsNotThereIsAMistake) {
  EXPECT_ERROR(ErrorOf("", "max_gap = \"1s\"\nshould_fail = \"stall\""), "there is no [scheduler]");
}

}  // namespace
}  // namespace stasis
