#include "tools/harness/scheduler_report.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace stasis {
namespace {

using testing::HasSubstr;
using testing::Not;

SchedulerMeasurement Attached() {
  return {.command = "scx_x",
          .ops = "x",
          .started_ns = 1000000000,
          .attached_ns = 3500000000,
          .samples = 51,
          .attached_samples = 51};
}

TEST(SchedulerReportTest, LineTellsTheEvidence) {
  const SchedulerReport report{.command = "scx_x"};
  SchedulerMeasurement measured = Attached();

  EXPECT_EQ(SchedulerLine(report, &measured),
            "scheduler scx_x: ops x, attached after 2.50 s, seen in 51 of 51 samples\n");
}

TEST(SchedulerReportTest, LineOfAGuestThatDiedTellsWhatWasSeen) {
  EXPECT_EQ(SchedulerLine({.command = "scx_x", .last_seen = "enabled x"}, nullptr),
            "scheduler scx_x: last seen enabled x\n");
  EXPECT_EQ(SchedulerLine({.command = "scx_x"}, nullptr), "scheduler scx_x: never seen\n");
}

TEST(SchedulerReportTest, OutputIsJoinedAndGapsAreMarked) {
  SchedulerReport report;
  AddOutput({.stream = 1, .data = {"one\n"}}, &report);
  AddOutput({.stream = 2, .data = {"err\n"}}, &report);
  AddOutput({.stream = 1, .omitted = 7, .data = {"two\n"}}, &report);

  EXPECT_EQ(report.output[0], "one\n\n[7 bytes left out]\ntwo\n");
  EXPECT_EQ(report.output[1], "err\n");
}

TEST(SchedulerReportTest, HostileAmountOfOutputIsBounded) {
  SchedulerReport report;
  for (int i = 0; i < 100; ++i) {
    AddOutput({.stream = 9, .data = {std::string(100000, 'x')}}, &report);
  }

  EXPECT_LT(report.output[0].size(), size_t{3} << 20);
}

TEST(SchedulerReportTest, DumpIsShownInPartWithItsIndentation) {
  SchedulerMeasurement measured = Attached();
  EXPECT_EQ(DebugDumpText(measured), "");
  measured.end.emplace().debug_dump = "CPU states\n\n  CPU 0\x1b[1m\n";
  for (int i = 0; i < 100; ++i) measured.end->debug_dump += "line\n";

  const std::string text = DebugDumpText(measured);

  EXPECT_THAT(text, HasSubstr("  | CPU states\n  |   CPU 0 [1m\n"));
  EXPECT_THAT(text, HasSubstr("and 62 more lines"));
}

TEST(SchedulerReportTest, OutputIsShownWithoutTheDump) {
  SchedulerReport report;
  report.output[1] = "hello\nDEBUG DUMP\n==========\n\nCPU 0\n\n==========\n\nEXIT: x\n";

  const std::string text = SchedulerOutputText(report);

  EXPECT_THAT(text, Not(HasSubstr("CPU 0")));
  EXPECT_THAT(text, HasSubstr("  | hello\n"));
  EXPECT_THAT(text, HasSubstr("  | EXIT: x\n"));
}

TEST(SchedulerReportTest, JsonHasEverything) {
  SchedulerReport report{.command = "scx_x"};
  report.output[0] = "out";
  SchedulerMeasurement measured = Attached();
  measured.end = SchedulerEnd{.kind = SchedulerEndKind::kStall, .debug_dump = "dump\n"};

  const nlohmann::json json = SchedulerJson(report, &measured);

  EXPECT_EQ(json["stdout"], "out");
  EXPECT_EQ(json["end"]["kind"], "stall");
  EXPECT_EQ(json["end"]["debug_dump"], "dump\n");
  EXPECT_EQ(json["attached_samples"], 51);
}

}  // namespace
}  // namespace stasis
