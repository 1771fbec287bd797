#include "tools/harness/lane.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace stasis {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

LaneFacts Facts(absl::StatusOr<KvmProbeResult> probe, absl::Status nested = absl::OkStatus()) {
  return LaneFacts{false, std::move(probe), std::move(nested)};
}
const KvmProbeResult kGood{.can_run_stock_kernel = true};
const KvmProbeResult kWeak{.can_run_stock_kernel = false, .reason = "cmpxchg16b"};

TEST(LaneTest, AutoTakesKvmThatCanRunAKernelAndSaysNothing) {
  absl::StatusOr<Lane> lane = ChooseLane(Accel::kAuto, Facts(kGood));

  ASSERT_TRUE(lane.ok());
  EXPECT_FALSE(lane->nested);
  EXPECT_THAT(lane->note, IsEmpty());
}

TEST(LaneTest, AutoTakesNestedWhereKvmIsTooWeakAndSaysWhy) {
  absl::StatusOr<Lane> lane = ChooseLane(Accel::kAuto, Facts(kWeak));

  ASSERT_TRUE(lane.ok());
  EXPECT_TRUE(lane->nested);
  EXPECT_EQ(lane->note,
            "this host's KVM cannot run a stock kernel (cmpxchg16b); using the nested lane");
}

TEST(LaneTest, AutoTakesNestedWithoutAnyKvm) {
  absl::StatusOr<Lane> lane =
      ChooseLane(Accel::kAuto, Facts(absl::NotFoundError("open /dev/kvm: No such file")));

  ASSERT_TRUE(lane.ok());
  EXPECT_TRUE(lane->nested);
  EXPECT_THAT(lane->note, HasSubstr("No such file"));
}

TEST(LaneTest, NeitherLaneNamesBothReasons) {
  absl::StatusOr<Lane> lane =
      ChooseLane(Accel::kAuto, Facts(kWeak, absl::NotFoundError("no QEMU")));

  EXPECT_TRUE(absl::IsUnavailable(lane.status()));
  EXPECT_THAT(std::string(lane.status().message()), HasSubstr("cmpxchg16b"));
  EXPECT_THAT(std::string(lane.status().message()), HasSubstr("no QEMU"));
}

TEST(LaneTest, KvmAskedForIsTakenEvenIfWeakWithAWarning) {
  absl::StatusOr<Lane> lane = ChooseLane(Accel::kKvm, Facts(kWeak));

  ASSERT_TRUE(lane.ok());
  EXPECT_FALSE(lane->nested);
  EXPECT_THAT(lane->note, HasSubstr("warning"));
}

TEST(LaneTest, KvmAskedForAndMissingIsAnError) {
  EXPECT_FALSE(ChooseLane(Accel::kKvm, Facts(absl::NotFoundError("no /dev/kvm"))).ok());
}

TEST(LaneTest, NestedAskedForIsTakenEvenIfKvmIsGood) {
  EXPECT_TRUE(ChooseLane(Accel::kNested, Facts(kGood))->nested);
}

TEST(LaneTest, InsideTheEmulatedHostItIsKvmWhateverWasAsked) {
  LaneFacts facts = Facts(kGood);
  facts.in_nested = true;

  EXPECT_FALSE(ChooseLane(Accel::kNested, facts)->nested);
}

TEST(LaneTest, AccelNamesAreParsed) {
  EXPECT_EQ(*ParseAccel("nested"), Accel::kNested);
  EXPECT_TRUE(absl::IsInvalidArgument(ParseAccel("xen").status()));
}

}  // namespace
}  // namespace stasis
