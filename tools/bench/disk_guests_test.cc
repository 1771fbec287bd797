#include "tools/bench/disk_guests.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace stasis::bench {
namespace {

using ::testing::HasSubstr;

// A line of fio's terse format, version 3, with these figures.
std::string Terse(const std::string& job, double reads, double writes) {
  std::vector<std::string> words(60, "0");
  words[0] = "3";
  words[2] = job;
  words[7] = absl::StrCat(reads);
  words[48] = absl::StrCat(writes);
  return absl::StrJoin(words, ";");
}

std::string AllJobs(const std::string& image, double figure) {
  std::string output;
  for (const DiskJob& job : kDiskJobs) {
    const bool writes = std::string(job.rw).find("write") != std::string::npos;
    absl::StrAppend(&output, image, ";", Terse(job.name, writes ? 0 : figure, writes ? figure : 0),
                    "\n");
  }
  return output;
}

TEST(DiskGuestsTest, FiguresOfReadsAndWritesAreFoundByImageAndJob) {
  const auto figures = ParseFioOutput(AllJobs("memory", 100) + AllJobs("disk", 7.5));

  ASSERT_TRUE(figures.ok()) << figures.status();
  EXPECT_EQ(figures->size(), 2 * std::size(kDiskJobs));
  EXPECT_EQ(figures->at({"memory", "randread-4k-1"}), 100);
  EXPECT_EQ(figures->at({"disk", "write-1m"}), 7.5);
}

TEST(DiskGuestsTest, AMissingJobIsAnErrorWithWhatFioSaid) {
  const auto figures = ParseFioOutput(AllJobs("memory", 100) + "disk;fio: no such device\n");

  EXPECT_TRUE(absl::IsInternal(figures.status()));
  EXPECT_THAT(std::string(figures.status().message()), HasSubstr("randread-4k-1 on the image in disk"));
  EXPECT_THAT(std::string(figures.status().message()), HasSubstr("no such device"));
}

TEST(DiskGuestsTest, ScriptHasEveryJobAndTellsTheDisksApartBySize) {
  const std::string script = FioScript(3);

  EXPECT_THAT(script, HasSubstr("[randwrite-4k-32]\nstonewall\nrw=randwrite\nbs=4k\niodepth=32\n"));
  EXPECT_THAT(script, HasSubstr("[ $sectors = 131072 ] && image=memory"));
  EXPECT_THAT(script, HasSubstr("[ $sectors = 133120 ] && image=disk"));
  EXPECT_THAT(script, HasSubstr("runtime=3\n"));
}

}  // namespace
}  // namespace stasis::bench
