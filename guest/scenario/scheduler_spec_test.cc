#include "guest/scenario/scheduler_spec.h"

#include "gtest/gtest.h"

namespace stasis {
namespace {

TEST(SchedulerSpecTest, CommandIsTheFilesNameAndItsArguments) {
  EXPECT_EQ(CommandOf({.path = "/some/where/scx_x", .args = {"-f", "3"}}), "scx_x -f 3");
  EXPECT_EQ(CommandOf({.name = "scx_simple"}), "scx_simple");
}

TEST(SchedulerSpecTest, EveryKindHasANameOfItsOwn) {
  for (const auto& entry : EnumNames(SchedulerEndKind{})) {
    EXPECT_EQ(fields::ByName<SchedulerEndKind>(entry.name), entry.value) << entry.name;
  }
}

TEST(SchedulerSpecTest, KernelsReasonsAreKnown) {
  EXPECT_EQ(KindOfReason("runnable task stall"), SchedulerEndKind::kStall);
  EXPECT_EQ(KindOfReason("scx_bpf_error"), SchedulerEndKind::kBpfError);
  EXPECT_EQ(KindOfReason("runtime error"), SchedulerEndKind::kRuntimeError);
  EXPECT_EQ(KindOfReason("disabled by sysrq-S"), SchedulerEndKind::kSysrq);
  EXPECT_EQ(KindOfReason("unregistered from user space"), SchedulerEndKind::kUnregistered);
  EXPECT_EQ(KindOfReason("something of tomorrow"), SchedulerEndKind::kKernel);
}

TEST(LoaderReportTest, ReasonMessageAndDumpAreFound) {
  const LoaderReport report = ReadLoaderReport(
      "noise\n\nDEBUG DUMP\n"
      "================================================================================\n"
      "\n"
      "broken[99] triggered exit kind 1026:\n"
      "  runnable task stall (x[1] failed to run)\n"
      "\n"
      "CPU states\n"
      "\n"
      "================================================================================\n"
      "\n"
      "EXIT: runnable task stall (cpu_spin[140] failed to run for 2.048s (again))\n");

  EXPECT_EQ(report.reason, "runnable task stall");
  EXPECT_EQ(report.message, "cpu_spin[140] failed to run for 2.048s (again)");
  EXPECT_EQ(report.debug_dump,
            "broken[99] triggered exit kind 1026:\n"
            "  runnable task stall (x[1] failed to run)\n"
            "\n"
            "CPU states\n");
}

TEST(LoaderReportTest, ReasonWithoutMessageAndDump) {
  const LoaderReport report = ReadLoaderReport("EXIT: unregistered from user space\n");

  EXPECT_EQ(report.reason, "unregistered from user space");
  EXPECT_EQ(report.message, "");
  EXPECT_EQ(report.debug_dump, "");
}

TEST(LoaderReportTest, DumpThatWasCutShortIsKept) {
  const LoaderReport report = ReadLoaderReport("DEBUG DUMP\n==========\nCPU 0\n");

  EXPECT_EQ(report.debug_dump, "CPU 0\n");
  EXPECT_EQ(report.reason, "");
}

TEST(LoaderReportTest, NothingIsReadFromOtherOutput) {
  const LoaderReport report = ReadLoaderReport("local=1 global=2\n======\nno EXIT: here\n");

  EXPECT_EQ(report.reason, "");
  EXPECT_EQ(report.debug_dump, "");
}

}  // namespace
}  // namespace stasis
