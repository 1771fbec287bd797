#include "devices/virtio/status_ladder.h"

#include <gtest/gtest.h>

#include "devices/virtio/features.h"

namespace stasis {
namespace {

using Result = StatusLadder::Result;

constexpr uint32_t kRungs[] = {0x0, 0x1, 0x3, 0xb, 0xf};

std::string Agree() { return ""; }

// A ladder that a driver climbed to `status` rung by rung.
void ClimbTo(StatusLadder& ladder, uint32_t status) {
  for (uint32_t rung : kRungs) {
    if (rung > status || rung == 0) continue;
    ASSERT_EQ(ladder.Write(rung, Agree).result, Result::kAdvanced) << rung;
  }
}

TEST(StatusLadderTest, S1_EachRungInOrderIsAccepted) {
  StatusLadder ladder;
  ClimbTo(ladder, 0xf);
  EXPECT_EQ(ladder.value(), 0xfu);
}

TEST(StatusLadderTest, S1_EverySingleBitOutOfOrderIsRefusedAndLeavesTheStatus) {
  for (uint32_t rung : kRungs) {
    for (uint32_t bit : {0x1u, 0x2u, 0x4u, 0x8u}) {
      StatusLadder ladder;
      ClimbTo(ladder, rung);
      const bool in_order = std::count(std::begin(kRungs), std::end(kRungs), rung | bit) != 0;
      if (in_order) continue;  // the next rung, or a bit that is set already
      const StatusLadder::Outcome outcome = ladder.Write(rung | bit, Agree);
      EXPECT_EQ(outcome.result, Result::kRefused) << rung << " " << bit;
      EXPECT_STREQ(outcome.cause, "status-out-of-order");
      EXPECT_EQ(ladder.value(), rung);
    }
  }
}

TEST(StatusLadderTest, S1_TwoNewBitsAtOnceAreRefused) {
  StatusLadder ladder;
  const StatusLadder::Outcome outcome = ladder.Write(0x3, Agree);
  EXPECT_STREQ(outcome.cause, "status-multiple-bits");
  EXPECT_EQ(outcome.new_bits, 0x3u);
  EXPECT_EQ(ladder.value(), 0u);
}

TEST(StatusLadderTest, S1_ReservedBitsAreRefused) {
  for (uint32_t bit : {0x10u, 0x20u, 0x100u, 0x80000000u}) {
    StatusLadder ladder;
    ClimbTo(ladder, 0x1);
    EXPECT_STREQ(ladder.Write(0x1 | bit, Agree).cause, "status-reserved-bits") << bit;
    EXPECT_EQ(ladder.value(), 0x1u);
  }
}

TEST(StatusLadderTest, S2_ClearingABitIsRefused) {
  StatusLadder ladder;
  ClimbTo(ladder, 0xf);
  EXPECT_STREQ(ladder.Write(0xb, Agree).cause, "status-cleared-bits");
  EXPECT_EQ(ladder.value(), 0xfu);
}

TEST(StatusLadderTest, S3_WritingTheCurrentValueIsANoOp) {
  StatusLadder ladder;
  ClimbTo(ladder, 0x3);
  EXPECT_EQ(ladder.Write(0x3, Agree).result, Result::kUnchanged);
  EXPECT_EQ(ladder.value(), 0x3u);
}

TEST(StatusLadderTest, S4_FeaturesOkIsRefusedWithTheReasonGiven) {
  StatusLadder ladder;
  ClimbTo(ladder, 0x3);
  const StatusLadder::Outcome outcome = ladder.Write(0xb, [] { return "lacks VERSION_1"; });
  EXPECT_STREQ(outcome.cause, "features-refused");
  EXPECT_NE(outcome.detail.find("lacks VERSION_1"), std::string::npos) << outcome.detail;
  EXPECT_EQ(ladder.value(), 0x3u);
}

TEST(StatusLadderTest, S5_FailedIsAcceptedOnEveryRungAndEndsTheClimb) {
  for (uint32_t rung : kRungs) {
    StatusLadder ladder;
    ClimbTo(ladder, rung);
    EXPECT_EQ(ladder.Write(rung | kStatusFailed, Agree).result, Result::kAdvanced) << rung;
    EXPECT_EQ(ladder.value(), rung | kStatusFailed);
  }
  StatusLadder ladder;
  ASSERT_EQ(ladder.Write(kStatusFailed, Agree).result, Result::kAdvanced);
  EXPECT_STREQ(ladder.Write(kStatusFailed | 0x1, Agree).cause, "status-after-failed");
}

TEST(StatusLadderTest, S5_FailedTogetherWithAnotherBitIsRefused) {
  StatusLadder ladder;
  EXPECT_STREQ(ladder.Write(kStatusFailed | 0x1, Agree).cause, "status-multiple-bits");
}

TEST(StatusLadderTest, S6_TheDriverCannotSetNeedsReset) {
  StatusLadder ladder;
  ClimbTo(ladder, 0xf);
  EXPECT_STREQ(ladder.Write(0x4f, Agree).cause, "status-needs-reset-by-driver");
  EXPECT_EQ(ladder.value(), 0xfu);
}

TEST(StatusLadderTest, S6_AfterPoisoningEveryWriteIsRefusedAndThePoisoningNamed) {
  StatusLadder ladder;
  ClimbTo(ladder, 0xb);
  EXPECT_TRUE(ladder.SetNeedsReset());
  EXPECT_FALSE(ladder.SetNeedsReset());
  for (uint32_t value : {0xfu, 0x4fu, 0x8bu, 0xcbu, 0x3u}) {
    const StatusLadder::Outcome outcome = ladder.Write(value, Agree);
    EXPECT_EQ(outcome.result, Result::kRefused) << value;
    EXPECT_STREQ(outcome.cause, "status-needs-reset") << value;
    EXPECT_NE(outcome.detail.find("poisoned"), std::string::npos);
  }
  EXPECT_EQ(ladder.value(), 0x4bu);
  ladder.Clear();
  EXPECT_EQ(ladder.value(), 0u);
}

TEST(StatusLadderTest, S7_NeedsResetSetBetweenCheckAndSwapSurvivesTheAdvance) {
  StatusLadder ladder;
  ClimbTo(ladder, 0x3);
  // The feature check runs after the snapshot was taken: a worker poisons the device right there.
  const StatusLadder::Outcome outcome = ladder.Write(0xb, [&] {
    ladder.SetNeedsReset();
    return std::string();
  });
  EXPECT_STREQ(outcome.cause, "status-needs-reset");
  EXPECT_EQ(ladder.value(), 0x43u);
}

// Loses the first `losses` races although the value is the same again when it is looked at.
class UnluckyLadder : public StatusLadder {
 public:
  explicit UnluckyLadder(int losses) : losses_(losses) {}
  int attempts() const { return attempts_; }

 protected:
  bool Swap(uint32_t expected, uint32_t desired) override {
    ++attempts_;
    return attempts_ > losses_ && StatusLadder::Swap(expected, desired);
  }

 private:
  const int losses_;
  int attempts_ = 0;
};

TEST(StatusLadderTest, S7_ALostRaceIsValidatedAgainAndTriedAgain) {
  UnluckyLadder ladder(StatusLadder::kMaxAttempts - 1);
  EXPECT_EQ(ladder.Write(0x1, Agree).result, Result::kAdvanced);
  EXPECT_EQ(ladder.attempts(), StatusLadder::kMaxAttempts);
  EXPECT_EQ(ladder.value(), 0x1u);
}

TEST(StatusLadderTest, S7_AfterFourLostRacesItGivesUp) {
  UnluckyLadder ladder(100);
  const StatusLadder::Outcome outcome = ladder.Write(0x1, Agree);
  EXPECT_STREQ(outcome.cause, "status-race");
  EXPECT_EQ(ladder.attempts(), 4);
  EXPECT_EQ(ladder.value(), 0u);
}

TEST(StatusLadderTest, S8_ARefusalSaysOldStatusRequestAndNewBits) {
  StatusLadder ladder;
  ClimbTo(ladder, 0x1);
  const StatusLadder::Outcome outcome = ladder.Write(0x9, Agree);
  EXPECT_EQ(outcome.old_status, 0x1u);
  EXPECT_NE(outcome.detail.find("status 0x1 -> 0x9 (new bits 0x8)"), std::string::npos)
      << outcome.detail;
}

}  // namespace
}  // namespace stasis
