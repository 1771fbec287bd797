#include "tools/harness/console_log.h"

#include "gtest/gtest.h"

namespace stasis {
namespace {

struct AlarmCase {
  const char* line;
  ConsoleAlarmKind kind;
};

class ConsoleAlarmTest : public testing::TestWithParam<AlarmCase> {};

TEST_P(ConsoleAlarmTest, KernelLineRaisesItsAlarm) {
  std::optional<ConsoleAlarm> alarm = FindConsoleAlarm(GetParam().line);

  ASSERT_TRUE(alarm.has_value());
  EXPECT_EQ(alarm->kind, GetParam().kind) << ConsoleAlarmName(alarm->kind);
  EXPECT_EQ(alarm->line.find('['), std::string::npos) << "time stamp is cut: " << alarm->line;
}

INSTANTIATE_TEST_SUITE_P(
    Lines, ConsoleAlarmTest,
    testing::Values(
        AlarmCase{"[    1.2] Kernel panic - not syncing: VFS: Unable to mount root fs\r",
                  ConsoleAlarmKind::kPanic},
        AlarmCase{"<0>[   22.1][   T12] watchdog: BUG: soft lockup - CPU#1 stuck for 22s!",
                  ConsoleAlarmKind::kSoftLockup},
        AlarmCase{"[   27.9] rcu: INFO: rcu_sched self-detected stall on CPU",
                  ConsoleAlarmKind::kRcuStall},
        AlarmCase{"[   27.9] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
                  ConsoleAlarmKind::kRcuStall},
        AlarmCase{"[    0.9] BUG: kernel NULL pointer dereference, address: 0000000000000010",
                  ConsoleAlarmKind::kBug},
        AlarmCase{"[    0.9] kernel BUG at mm/slub.c:4023!", ConsoleAlarmKind::kBug},
        AlarmCase{"[    0.9] Oops: 0002 1 PREEMPT SMP", ConsoleAlarmKind::kOops},
        AlarmCase{"[  242.1] INFO: task worker:77 blocked for more than 120 seconds.",
                  ConsoleAlarmKind::kHungTask}));

TEST(ConsoleAlarmTest, WordsInsideAProgramsLineRaiseNothing) {
  EXPECT_FALSE(FindConsoleAlarm("echo Oops: my fault, BUG: none").has_value());
  EXPECT_FALSE(FindConsoleAlarm("[ 1.0] Command line: panic=-1").has_value());
  EXPECT_FALSE(FindConsoleAlarm("").has_value());
}

TEST(ConsoleLogTest, LineInPiecesFromTwoConsolesRaisesOneAlarm) {
  ConsoleLog log;
  std::vector<std::string> seen;
  log.set_on_alarm([&](const ConsoleAlarm& alarm) { seen.push_back(alarm.line); });

  log.Append(0, "[    1.0] Kernel pa");
  log.Append(1, "login: \n");
  log.Append(0, "nic - not syncing: x\n");

  ASSERT_EQ(seen.size(), 1u);
  EXPECT_EQ(seen[0], "Kernel panic - not syncing: x");
  EXPECT_NE(log.Find(ConsoleAlarmKind::kPanic), nullptr);
  EXPECT_EQ(log.Find(ConsoleAlarmKind::kOops), nullptr);
}

TEST(ConsoleLogTest, KeepsTheEndWithinTheLimit) {
  ConsoleLog log(100);

  for (int i = 0; i < 1000; ++i) log.Append(0, "0123456789");
  log.Append(0, "end");

  EXPECT_EQ(log.Text().size(), 100u);
  EXPECT_EQ(log.Text().substr(97), "end");
  EXPECT_EQ(log.total_bytes(), 10003u);
}

TEST(ConsoleLogTest, LastLinesHaveNoControlCharactersAndNoEmptyLines) {
  ConsoleLog log;

  log.Append(0, "one\r\n\r\n\x1b[1;31mtwo\x1b[0m\r\nthree");

  EXPECT_EQ(log.LastLines(2), (std::vector<std::string>{"two", "three"}));
}

TEST(ConsoleLogTest, GuestThatFloodsPanicsIsBounded) {
  ConsoleLog log;

  for (int i = 0; i < 1000; ++i) log.Append(0, "Kernel panic - not syncing: x\n");

  EXPECT_EQ(log.alarms().size(), ConsoleLog::kMaxAlarms);
}

TEST(ConsoleLogTest, TeeSeesEveryByte) {
  ConsoleLog log(4);
  std::string seen;
  log.set_tee([&](absl::string_view bytes) { seen.append(bytes.data(), bytes.size()); });

  log.Append(0, "abcdef");
  log.Append(1, "gh");

  EXPECT_EQ(seen, "abcdefgh");
}

}  // namespace
}  // namespace stasis
