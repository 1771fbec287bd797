#include "tools/harness/run_set/outcome.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace stasis {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

PlannedRun Planned(const std::string& name = "steady", uint32_t repeat = 1) {
  return {.scenario = name, .name = name, .repeat = repeat};
}

std::string Document(const std::string& verdict, int exit_code, const std::string& layer = "",
                     const std::string& message = "") {
  return json({{"format", "stasis.result/1"},
               {"verdict", verdict},
               {"exit_code", exit_code},
               {"layer", layer},
               {"message", message}})
      .dump();
}

ChildResult Child(int exit_code, const std::string& error = "") {
  return {.started = true,
          .exit_code = exit_code,
          .output = "the report\n",
          .error = error,
          .wall = absl::Seconds(12)};
}

RunOutcome Outcome(const std::string& verdict, int exit_code, const std::string& layer = "",
                   bool skip = false) {
  return OutcomeOf(Planned(), Child(exit_code), Document(verdict, exit_code, layer, "why"), skip);
}

TEST(OutcomeOfTest, VerdictOfTheDocumentIsTaken) {
  const RunOutcome outcome = Outcome("fail", 1, "scheduler");

  EXPECT_EQ(outcome.state, RunState::kFail);
  EXPECT_EQ(outcome.finding.layer, Layer::kScheduler);
  EXPECT_EQ(outcome.finding.what, "why");
  EXPECT_EQ(outcome.document["run"]["scenario"], "steady");
  EXPECT_EQ(outcome.document["run"]["repeat"], 1);
  EXPECT_EQ(outcome.document["run"]["wall_ns"], 12'000'000'000);
}

TEST(OutcomeOfTest, CrashedChildIsAnErrorThatSaysHow) {
  const RunOutcome outcome = OutcomeOf(Planned(), Child(128 + 11), "", false);

  EXPECT_EQ(outcome.state, RunState::kError);
  EXPECT_THAT(outcome.finding.what, HasSubstr("signal 11"));
  EXPECT_EQ(outcome.document["format"], "stasis.result/1");
  EXPECT_EQ(outcome.document["verdict"], "error");
}

TEST(OutcomeOfTest, LaneThatFailedIsToldWithItsOwnWords) {
  const RunOutcome outcome =
      OutcomeOf(Planned(), Child(3, "stasis: booting\nERROR: host: nested lane: it hung\n"), "",
                false);

  EXPECT_EQ(outcome.state, RunState::kError);
  EXPECT_EQ(outcome.finding.what, "nested lane: it hung");
}

TEST(OutcomeOfTest, TruncatedDocumentIsNoPass) {
  const std::string document = Document("pass", 0);

  EXPECT_EQ(OutcomeOf(Planned(), Child(0), document.substr(0, 20), false).state,
            RunState::kError);
}

TEST(OutcomeOfTest, PassWithAnotherExitCodeIsNoPass) {
  const RunOutcome outcome = OutcomeOf(Planned(), Child(134), Document("pass", 0), false);

  EXPECT_EQ(outcome.state, RunState::kError);
  EXPECT_THAT(outcome.finding.what, AllOf(HasSubstr("134"), HasSubstr("'pass'")));
}

TEST(OutcomeOfTest, InterruptedAndNotStartedAreNoVerdicts) {
  EXPECT_EQ(OutcomeOf(Planned(), Child(130), Document("error", 130), false).state,
            RunState::kInterrupted);
  EXPECT_EQ(OutcomeOf(Planned(), ChildResult(), "", false).state, RunState::kInterrupted);
}

TEST(OutcomeOfTest, LackOfAFeatureIsSkippedOnRequestAndNoiseNever) {
  EXPECT_EQ(Outcome("inconclusive", 4, "boot", true).state, RunState::kSkipped);
  EXPECT_EQ(Outcome("inconclusive", 4, "boot", false).state, RunState::kInconclusive);
  EXPECT_EQ(Outcome("inconclusive", 4, "host", true).state, RunState::kInconclusive);
}

TEST(ExitCodeOfTest, WorstVerdictDecides) {
  const RunOutcome pass = Outcome("pass", 0);
  const RunOutcome fail = Outcome("fail", 1, "scheduler");
  const RunOutcome usage = Outcome("usage", 2);
  const RunOutcome error = Outcome("error", 3, "host");
  const RunOutcome inconclusive = Outcome("inconclusive", 4, "host");
  const RunOutcome skipped = SkippedOutcome(Planned(), {});
  const RunOutcome interrupted = OutcomeOf(Planned(), ChildResult(), "", false);

  EXPECT_EQ(ExitCodeOf({pass, pass}), 0);
  EXPECT_EQ(ExitCodeOf({pass, skipped}), 0);
  EXPECT_EQ(ExitCodeOf({inconclusive, pass}), 4);
  EXPECT_EQ(ExitCodeOf({inconclusive, error, pass}), 3);
  EXPECT_EQ(ExitCodeOf({inconclusive, error, usage}), 2);
  EXPECT_EQ(ExitCodeOf({inconclusive, error, usage, fail, pass}), 1);
  EXPECT_EQ(ExitCodeOf({fail, interrupted}), 130);
}

TEST(SummaryLineTest, WorstStandsFirst) {
  EXPECT_EQ(SummaryLine({Outcome("pass", 0), Outcome("pass", 0)}), "PASS: 2 of 2 runs passed");
  EXPECT_EQ(SummaryLine({Outcome("pass", 0), Outcome("fail", 1), Outcome("inconclusive", 4)}),
            "FAIL: 1 of 3 runs failed, 1 inconclusive, 1 passed");
}

TEST(OutcomeTableTest, OneLinePerRunWithFiguresAndCause) {
  json document = json::parse(Document("pass", 0));
  document["start_ns"] = 0;
  document["end_ns"] = 1'000'000'000;
  document["workers"] = {{{"cgroup", "a"},
                          {"kind", "cpu_spin"},
                          {"iterations", 123456},
                          {"run_ns", 5},
                          {"max_gap_ns", 51'300'000}}};
  const RunOutcome pass = OutcomeOf(Planned(), Child(0), document.dump(), false);

  const std::string table = OutcomeTable({pass, Outcome("fail", 1, "scheduler")});

  EXPECT_THAT(table, StartsWith("scenario  run  verdict"));
  EXPECT_THAT(table, HasSubstr("steady      1  pass     12.0 s   123,456/s      51.3 ms"));
  EXPECT_THAT(table, HasSubstr("FAIL"));
  EXPECT_THAT(table, HasSubstr("scheduler: why\n"));
}

TEST(RunSetReportTest, FirstReportsOfFailuresAreShownWhole) {
  std::vector<RunOutcome> outcomes(5, Outcome("fail", 1, "scheduler"));
  outcomes.push_back(Outcome("pass", 0));

  const std::string report = RunSetReport(outcomes);

  size_t shown = 0;
  for (size_t at = 0; (at = report.find("the report", at)) != std::string::npos; ++at) ++shown;
  EXPECT_EQ(shown, 3u);
  EXPECT_THAT(report, HasSubstr("2 more reports not shown"));
}

TEST(RunSetJsonTest, HoldsEveryDocument) {
  const json object =
      RunSetJson({Outcome("pass", 0), Outcome("fail", 1, "scheduler")}, {2, "2 at a time"});

  EXPECT_EQ(object["format"], "stasis.results/1");
  EXPECT_EQ(object["exit_code"], 1);
  EXPECT_EQ(object["counts"], json({{"pass", 1}, {"fail", 1}}));
  EXPECT_EQ(object["jobs"]["jobs"], 2);
  ASSERT_EQ(object["runs"].size(), 2u);
  EXPECT_EQ(object["runs"][1]["verdict"], "fail");
}

TEST(JsonTextTest, BytesThatAreNoUtf8AreReplaced) {
  EXPECT_THAT(JsonText({{"text", "\xff"}}), HasSubstr("\xef\xbf\xbd"));
}

}  // namespace
}  // namespace stasis
