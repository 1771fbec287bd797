#include "tools/harness/report.h"

#include <stdio.h>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tools/harness/files.h"

namespace stasis {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

RunReport Example() {
  RunReport report;
  report.finding = {Verdict::kPass, Layer::kNone, "", ""};
  report.scenario.emplace();
  report.scenario->name = "steady";
  report.scenario->summary = "Two cgroups";
  report.scenario->duration = absl::Seconds(10);
  report.lane = "kvm";
  report.discovery = "acpi";
  report.hello.emplace();
  report.hello->kernel_release = "6.12.9-tiny";
  report.measurements.emplace();
  for (uint32_t index = 0; index < 3; ++index) {
    WorkerMeasurement worker;
    worker.index = index;
    worker.cgroup = index < 2 ? "left" : "right";
    worker.iterations = 1234567 + index;
    worker.run_ns = 9980000000;
    worker.max_gap_ns = 12000000;
    worker.cpus_used = *CpuSet::Parse("0-1");
    report.measurements->workers.push_back(worker);
  }
  report.expectations = {{"max_gap", true, "12.0 ms, limit 2 s"}};
  return report;
}

TEST(ReportTest, TextBeginsWithTheVerdictAndHasTheFigures) {
  const std::string text = TextReport(Example());

  EXPECT_THAT(text, StartsWith("PASS\n"));
  EXPECT_THAT(text, HasSubstr("6.12.9-tiny"));
  EXPECT_THAT(text, HasSubstr("left/1"));
  EXPECT_THAT(text, HasSubstr("right/0"));
  EXPECT_THAT(text, HasSubstr("1,234,567"));
  EXPECT_THAT(text, HasSubstr("9.98 s"));
  EXPECT_THAT(text, HasSubstr("ok   max_gap: 12.0 ms, limit 2 s"));
}

TEST(ReportTest, ConsoleTailIsShownUnlessItPassed) {
  RunReport report = Example();
  report.console_tail = {"Kernel panic"};
  EXPECT_THAT(TextReport(report), Not(HasSubstr("Kernel panic")));

  report.finding.verdict = Verdict::kFail;

  EXPECT_THAT(TextReport(report), HasSubstr("  | Kernel panic\n"));
}

TEST(ReportTest, LongTablesAreCutInTextAndWholeInJson) {
  RunReport report = Example();
  for (uint32_t index = 3; index < 200; ++index) {
    WorkerMeasurement worker;
    worker.index = index;
    worker.cgroup = "many";
    report.measurements->workers.push_back(worker);
  }

  EXPECT_THAT(TextReport(report), HasSubstr("168 more workers"));
  EXPECT_EQ(JsonReport(report)["workers"].size(), 200u);
}

TEST(ReportTest, JsonHasVerdictWorkersAndExpectations) {
  const nlohmann::json json = JsonReport(Example());

  EXPECT_EQ(json["format"], "stasis.result/1");
  EXPECT_EQ(json["verdict"], "pass");
  EXPECT_EQ(json["exit_code"], 0);
  EXPECT_EQ(json["workers"][2]["name"], "right/0");
  EXPECT_EQ(json["expectations"][0]["held"], true);
  EXPECT_EQ(json["guest"]["kernel_release"], "6.12.9-tiny");
}

TEST(ReportTest, RunThatNeverBootedHasAReportToo) {
  RunReport report;
  report.finding = {Verdict::kError, Layer::kHost, "no kernel", ""};

  EXPECT_THAT(TextReport(report), StartsWith("ERROR: host: no kernel\n"));
  EXPECT_FALSE(JsonReport(report).contains("guest"));
}

TEST(ReportTest, TextThatIsNoUtf8IsWrittenAllTheSame) {
  RunReport report = Example();
  report.console_tail = {"\xff\xfe"};
  const std::string path = testing::TempDir() + "/report_test.json";

  ASSERT_TRUE(WriteJsonReport(report, path).ok());

  absl::StatusOr<std::string> written = ReadWholeFile(path, 1 << 20);
  ASSERT_TRUE(written.ok());
  EXPECT_FALSE(nlohmann::json::parse(*written, nullptr, false).is_discarded());
  remove(path.c_str());
}

TEST(ReportTest, DurationsHaveFittingUnits) {
  EXPECT_EQ(DurationText(absl::Milliseconds(1500)), "1.50 s");
  EXPECT_EQ(DurationText(absl::Microseconds(12345)), "12.3 ms");
  EXPECT_EQ(DurationText(absl::Nanoseconds(7000)), "7 us");
}

}  // namespace
}  // namespace stasis
