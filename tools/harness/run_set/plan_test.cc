#include "tools/harness/run_set/plan.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace stasis {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr uint64_t kGiB = uint64_t{1} << 30;

std::vector<std::string> Labels(const std::vector<PlannedRun>& runs) {
  std::vector<std::string> labels;
  for (const PlannedRun& run : runs) labels.push_back(run.Label());
  return labels;
}

TEST(PlanRunsTest, RoundsOfAllScenariosFollowEachOther) {
  EXPECT_THAT(Labels(PlanRuns({"steady", "dir/bursty.toml"}, 2)),
              ElementsAre("steady #1", "bursty #1", "steady #2", "bursty #2"));
}

TEST(PlanRunsTest, ScenarioThatIsNamedTwiceIsRepeated) {
  EXPECT_THAT(Labels(PlanRuns({"steady", "steady"}, 1)), ElementsAre("steady #1", "steady #2"));
}

TEST(PlanRunsTest, DifferentFilesOfOneNameKeepTheirPaths) {
  const std::vector<PlannedRun> runs = PlanRuns({"a/x.toml", "b/x.toml"}, 1);

  EXPECT_THAT(Labels(runs), ElementsAre("a/x.toml #1", "b/x.toml #1"));
  EXPECT_EQ(runs[0].FileName(), "a_x.toml-1");
  EXPECT_NE(runs[0].FileName(), runs[1].FileName());
}

TEST(PlanRunsTest, FileNamesNeverLeaveTheirFolder) {
  EXPECT_EQ((PlannedRun{.name = "../../etc/x y", .repeat = 3}.FileName()), "_._.._etc_x_y-3");
}

TEST(NeedsOfTest, EmulatedHostTakesOneCpuAndItsOwnMemory) {
  EXPECT_EQ(NeedsOf(8, kGiB, /*nested=*/true).cpus, 1u);
  EXPECT_EQ(NeedsOf(8, kGiB, /*nested=*/false).cpus, 8u);
  EXPECT_GT(NeedsOf(8, kGiB, true).memory_bytes, NeedsOf(8, kGiB, false).memory_bytes);
  EXPECT_GT(NeedsOf(8, kGiB, false).memory_bytes, kGiB);
}

TEST(ChooseJobsTest, NoMoreThanThereAreRuns) {
  EXPECT_EQ(ChooseJobs(0, 3, {1, kGiB}, {16, 64 * kGiB}).jobs, 3u);
}

TEST(ChooseJobsTest, CpusBoundWhatWasAskedForAndAreNamed) {
  const JobChoice choice = ChooseJobs(8, 20, {2, kGiB}, {4, 64 * kGiB});

  EXPECT_EQ(choice.jobs, 2u);
  EXPECT_EQ(choice.why, "2 at a time of the 8 asked for: 4 CPUs, 2 for each run");
}

TEST(ChooseJobsTest, MemoryBoundsAndIsNamed) {
  const JobChoice choice = ChooseJobs(0, 20, {1, 4 * kGiB}, {16, 9 * kGiB});

  EXPECT_EQ(choice.jobs, 2u);
  EXPECT_EQ(choice.why, "2 at a time: 9.0 GiB available, 4.0 GiB for each run");
}

TEST(ChooseJobsTest, GuestLargerThanTheHostStillRunsAlone) {
  EXPECT_EQ(ChooseJobs(0, 5, {8, 64 * kGiB}, {2, 4 * kGiB}).jobs, 1u);
}

TEST(ChooseJobsTest, FewerThanFitAreTakenAsAskedFor) {
  const JobChoice choice = ChooseJobs(1, 20, {1, kGiB}, {16, 64 * kGiB});

  EXPECT_EQ(choice.jobs, 1u);
  EXPECT_EQ(choice.why, "one at a time, as asked for");
}

TEST(ChooseJobsTest, UnknownMemoryIsNoBound) {
  EXPECT_EQ(ChooseJobs(0, 4, {1, kGiB}, {8, 0}).jobs, 4u);
}

TEST(RoomOfThisHostTest, HasACpuAndMemory) {
  const HostRoom room = RoomOfThisHost();

  EXPECT_GE(room.cpus, 1u);
  EXPECT_GT(room.memory_bytes, 16u << 20);
}

}  // namespace
}  // namespace stasis
