#include "tools/harness/verdict.h"

#include "gtest/gtest.h"

namespace stasis {
namespace {

TEST(VerdictTest, ExitCodesAreThoseOfTheScenarioPage) {
  EXPECT_EQ(ExitCode(Verdict::kPass), 0);
  EXPECT_EQ(ExitCode(Verdict::kFail), 1);
  EXPECT_EQ(ExitCode(Verdict::kUsage), 2);
  EXPECT_EQ(ExitCode(Verdict::kError), 3);
  EXPECT_EQ(ExitCode(Verdict::kInconclusive), 4);
}

TEST(VerdictTest, FirstLineNamesVerdictLayerWhatAndToDo) {
  Finding finding{Verdict::kFail, Layer::kSchedulerLoad, "scx_x did not attach", "see dmesg"};

  EXPECT_EQ(FirstLine(finding), "FAIL: scheduler load: scx_x did not attach; see dmesg");
}

TEST(VerdictTest, FirstLineOfAPassIsOneWord) {
  EXPECT_EQ(FirstLine({Verdict::kPass, Layer::kNone, "", ""}), "PASS");
}

TEST(VerdictTest, GuestTextCannotBreakTheFirstLine) {
  Finding finding{Verdict::kFail, Layer::kBoot, "a\nPASS\r\n\x1b[2Jb", ""};

  EXPECT_EQ(FirstLine(finding), "FAIL: boot: a PASS [2Jb");
}

TEST(VerdictTest, InterruptedRunHasTheShellsExitCode) {
  Finding finding{Verdict::kError, Layer::kHost, "interrupted", "", true};

  EXPECT_EQ(finding.exit_code(), 130);
}

TEST(VerdictTest, InvalidArgumentIsUsageAndAnyOtherStatusAnError) {
  EXPECT_EQ(FindingFromStatus(Layer::kHost, absl::InvalidArgumentError("x")).verdict,
            Verdict::kUsage);
  EXPECT_EQ(FindingFromStatus(Layer::kHost, absl::NotFoundError("x")).verdict, Verdict::kError);
}

TEST(VerdictTest, UnknownLayerNameIsNone) {
  EXPECT_EQ(LayerByName("scheduler load"), Layer::kSchedulerLoad);
  EXPECT_EQ(LayerByName("somewhere"), Layer::kNone);
}

}  // namespace
}  // namespace stasis
