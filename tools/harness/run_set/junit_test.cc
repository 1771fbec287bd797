#include "tools/harness/run_set/junit.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace stasis {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

RunOutcome Outcome(RunState state, const std::string& what, const std::string& text = "") {
  return {.run = {.scenario = "steady", .name = "steady", .repeat = 2},
          .state = state,
          .finding = {.verdict = Verdict::kFail, .layer = Layer::kScheduler, .what = what},
          .text = text,
          .wall = absl::Milliseconds(1500)};
}

TEST(JunitTest, PassIsACaseWithoutMore) {
  EXPECT_EQ(JunitXml({Outcome(RunState::kPass, "")}),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n"
            "  <testsuite name=\"stasis\" tests=\"1\" failures=\"0\" errors=\"0\" skipped=\"0\" "
            "time=\"1.500\">\n"
            "    <testcase classname=\"steady\" name=\"run 2\" time=\"1.500\">\n"
            "    </testcase>\n  </testsuite>\n</testsuites>\n");
}

TEST(JunitTest, StatesAreWhatJunitHasForThem) {
  const std::string xml =
      JunitXml({Outcome(RunState::kFail, "a"), Outcome(RunState::kError, "b"),
                Outcome(RunState::kInconclusive, "c"), Outcome(RunState::kInterrupted, "d"),
                Outcome(RunState::kSkipped, "e"), Outcome(RunState::kUsage, "f")});

  EXPECT_THAT(xml, HasSubstr("tests=\"6\" failures=\"1\" errors=\"4\" skipped=\"1\""));
  EXPECT_THAT(xml, HasSubstr("<failure message=\"FAIL: scheduler: a\" type=\"fail\"/>"));
  EXPECT_THAT(xml, HasSubstr("type=\"error\"/>"));
  EXPECT_THAT(xml, HasSubstr("type=\"inconclusive\"/>"));
  EXPECT_THAT(xml, HasSubstr("<skipped message=\"FAIL: scheduler: e\"/>"));
}

TEST(JunitTest, MarkupIsEscapedAndReportsAreKept) {
  const std::string xml =
      JunitXml({Outcome(RunState::kFail, "<a> & \"b\"", "line 1\nline <2> ]]>\n")});

  EXPECT_THAT(xml, HasSubstr("&lt;a&gt; &amp; &quot;b&quot;"));
  EXPECT_THAT(xml, HasSubstr("<system-out>line 1\nline &lt;2&gt; ]]&gt;\n</system-out>"));
}

TEST(JunitTest, BytesThatXmlCannotHoldAreReplaced) {
  const std::string xml = JunitXml({Outcome(
      RunState::kFail, "x",
      std::string("a\x1b[1m\0b", 7) + "\xff\xc0\xaf\xed\xa0\x80\xef\xbf\xbf \xc3\xa4 \xf0\x9f\x98\x80")});

  EXPECT_THAT(xml, Not(HasSubstr("\x1b")));
  EXPECT_EQ(xml.find('\0'), std::string::npos);
  EXPECT_THAT(xml, Not(HasSubstr("\xff")));
  EXPECT_THAT(xml, Not(HasSubstr("\xed\xa0")));
  EXPECT_THAT(xml, Not(HasSubstr("\xef\xbf\xbf")));
  EXPECT_THAT(xml, HasSubstr("\xc3\xa4 \xf0\x9f\x98\x80</system-out>"));
}

}  // namespace
}  // namespace stasis
