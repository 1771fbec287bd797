#include "tools/monitor/live_view.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tools/monitor/live_directory.h"

namespace stasis {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

namespace fs = std::filesystem;

nlohmann::json View() {
  Sample sample;
  sample.interval = absl::Milliseconds(100);
  CpuSample busy{.cpu = 0, .online = true, .switches = 12, .idle = false, .pid = 7, .comm = "hog"};
  busy.policy = Policy::kFifo;
  busy.rt_priority = 50;
  busy.waiting = 2;
  busy.host_ran = absl::Milliseconds(95);
  sample.cpus = {busy, {.cpu = 1, .online = true}, {.cpu = 2, .torn = true}, {.cpu = 3}};
  Detectors::Wait wait;
  wait.task.pid = 42;
  wait.task.comm = "worker\x1b[31m";
  wait.task.cgroup = "/left";
  wait.task.allowed = CpuSet::Of({0, 1});
  wait.lasted = absl::Milliseconds(1500);
  wait.behind = "fifo 50 task hog (pid 7)";
  nlohmann::json view = {{"pid", 99}, {"what", "run steady"}, {"lane", "kvm"}, {"state", "running"}, {"tasks", 60}};
  AddCpus(sample, &view);
  AddWaits({wait}, 20, &view);
  AddScx({.built_in = true, .enabled = true, .state = "enabled", .ops = "mine", .watchdog = absl::Seconds(5)}, &view);
  return view;
}

TEST(LivePageTest, CpusWaitersAndSchedExtAreShown) {
  const std::string page = LivePage(View(), 0, 0, 0);

  EXPECT_THAT(page, HasSubstr("stasis 99  run steady"));
  EXPECT_THAT(page, HasSubstr("  0        3        12   95%  -        hog (pid 7, fifo 50)\n"));
  EXPECT_THAT(page, HasSubstr("  1        0         0     -  -        idle\n"));
  EXPECT_THAT(page, HasSubstr("  2  changed while it was read\n"));
  EXPECT_THAT(page, HasSubstr("  3  offline\n"));
  EXPECT_THAT(page, HasSubstr("1 of 60 tasks wait for a CPU\n"));
  EXPECT_THAT(page, HasSubstr("1.50 s"));
  EXPECT_THAT(page, HasSubstr("behind fifo 50 task hog (pid 7)"));
  EXPECT_THAT(page, HasSubstr("sched_ext  enabled, scheduler mine, its watchdog's limit 5.00 s\n"));
}

TEST(LivePageTest, TextOfTheGuestCannotSpeakToTheTerminal) {
  EXPECT_THAT(LivePage(View(), 0, 0, 0), Not(HasSubstr("\x1b")));
}

TEST(LivePageTest, PageFitsTheWindow) {
  const std::string page = LivePage(View(), 5, 20, 0);

  EXPECT_EQ(std::count(page.begin(), page.end(), '\n'), 4);
  size_t longest = 0, at = 0;
  for (const char c : page) {
    at = c == '\n' ? 0 : at + 1;
    longest = std::max(longest, at);
  }
  EXPECT_LE(longest, 20u);
}

TEST(LivePageTest, OldNewsAreSaidToBeOld) {
  EXPECT_THAT(LivePage(View(), 0, 0, 7), HasSubstr("NO NEWS FOR 7 s"));
}

TEST(LivePageTest, MonitorThatIsOffSaysWhy) {
  const nlohmann::json view = {{"pid", 1}, {"state", "off"}, {"reason", "it was started with --monitor 0"}};

  EXPECT_THAT(LivePage(view, 0, 0, 0), HasSubstr("monitor    off: it was started with --monitor 0\n"));
}

TEST(LivePageTest, ViewOfWrongTypesIsStillAPage) {
  const nlohmann::json view = {{"state", "running"}, {"cpus", "none"}, {"waiting", {{"pid", "x"}}}, {"sched_ext", 3}};

  EXPECT_THAT(LivePage(view, 0, 0, 0), HasSubstr("tasks wait for a CPU"));
}

class LiveFilesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = ::testing::TempDir() + "/live.XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    root_ = name;
  }
  void TearDown() override { fs::remove_all(root_); }
  std::string root_;
};

TEST_F(LiveFilesTest, ViewIsReadBackWhole) {
  WriteLiveView(root_ + "/view.json", View());

  const auto view = ReadLiveView(root_ + "/view.json");

  ASSERT_TRUE(view.ok()) << view.status();
  EXPECT_EQ((*view)["waiting"][0]["pid"], 42);
  EXPECT_EQ(std::distance(fs::directory_iterator(root_), fs::directory_iterator()), 1);
}

TEST_F(LiveFilesTest, WhatIsNoViewIsRefused) {
  std::ofstream(root_ + "/other") << "{\"format\":\"stasis.result/1\"}";

  EXPECT_EQ(ReadLiveView(root_ + "/other").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ReadLiveView(root_ + "/none").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(LiveFilesTest, DirectoryIsTheUsersAloneAndGoesWithItsOwner) {
  const std::string root = root_ + "/stasis";
  {
    const auto made = LiveDirectory::MakeIn(root);
    ASSERT_TRUE(made.ok()) << made.status();
    WriteLiveView(made->file(), View());
    struct stat found;
    ASSERT_EQ(stat(made->path().c_str(), &found), 0);
    EXPECT_EQ(found.st_mode & 0777, 0700u);
    EXPECT_TRUE(fs::exists(made->file()));
  }
  EXPECT_TRUE(fs::is_empty(root));
}

TEST_F(LiveFilesTest, WhatAKilledProcessLeftIsTakenAway) {
  fs::create_directories(root_ + "/4194400");  // above the largest pid
  WriteLiveView(LiveFileIn(root_ + "/4194400"), View());

  const auto made = LiveDirectory::MakeIn(root_);

  ASSERT_TRUE(made.ok());
  EXPECT_FALSE(fs::exists(root_ + "/4194400"));
}

// Another one's pid says nothing: it may be of another PID namespace.
TEST_F(LiveFilesTest, DirectoryOfAnotherProcessThatIsThereIsLeftAlone) {
  auto first = LiveDirectory::MakeIn(root_);
  ASSERT_TRUE(first.ok());
  const std::string path = first->path();

  const auto second = LiveDirectory::MakeIn(root_);

  ASSERT_TRUE(second.ok());
  EXPECT_TRUE(fs::is_directory(path));
  EXPECT_NE(second->path(), path);
  const std::vector<LiveProcess> processes = LiveProcesses(root_);
  ASSERT_EQ(processes.size(), 2u);
  EXPECT_EQ(processes[0].pid, getpid());
}

TEST_F(LiveFilesTest, LeftoversAndOtherDirectoriesAreNotShown) {
  fs::create_directories(root_ + "/4194400-abcdef");
  fs::create_directories(root_ + "/other");

  EXPECT_TRUE(LiveProcesses(root_).empty());
  ASSERT_TRUE(LiveDirectory::MakeIn(root_).ok());
  EXPECT_TRUE(fs::exists(root_ + "/other"));
  EXPECT_FALSE(fs::exists(root_ + "/4194400-abcdef"));
}

}  // namespace
}  // namespace stasis
