// A real guest's dump read back by `stasis dump`.
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>

#include "gmock/gmock.h"
#include "nlohmann/json.hpp"
#include "tools/e2e/boot_case.h"
#include "tools/stasis/run_stasis.h"

namespace stasis {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

class InspectTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (const std::string why = WhyNot({.kernel = GetParam()}); !why.empty()) GTEST_SKIP() << why;
    std::string name = testing::TempDir() + "/inspect_test.XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    directory_ = name;
    options_.time_limit = std::chrono::seconds(400);
    options_.environment["STASIS_DUMP"] = "fail";
  }
  void TearDown() override {
    if (!directory_.empty()) fs::remove_all(directory_);
  }
  std::string Dump(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "dump");
    const StasisRun run = RunStasis(arguments, options_);
    EXPECT_EQ(run.exit_code, 0) << run.error;
    return run.output;
  }

  std::string directory_;
  RunStasisOptions options_;
};

TEST_P(InspectTest, PanicIsSummedUpWithTheStackThatLedToIt) {
  const StasisRun run =
      RunStasis({"shell", "--kernel", GetParam(), "--topology", "2c", "--dump-dir", directory_,
                 "--exec", "echo c > /proc/sysrq-trigger; sleep 100"},
                options_);
  ASSERT_EQ(run.exit_code, 1) << run.output << run.error;
  ASSERT_FALSE(fs::is_empty(directory_)) << run.error;
  const std::string dump = fs::directory_iterator(directory_)->path().string();

  const std::string summary = Dump({"summary", dump});
  const std::string backtrace = Dump({"backtrace", dump});
  const std::string banner = Dump({"memory", dump, "linux_banner", "--length", "16"});
  const nlohmann::json facts = nlohmann::json::parse(Dump({"json", dump}), nullptr, false);

  EXPECT_THAT(summary, StartsWith("FAIL: scheduler: Kernel panic - not syncing: sysrq triggered"));
  EXPECT_THAT(summary, HasSubstr("trigger   guest-panic while running, told by pvpanic on CPU "));
  EXPECT_THAT(summary, HasSubstr("the kernel complained:\n  | Kernel panic"));
  // Out of the panic, through the write to /proc, to the system call.
  for (const char* frame :
       {"panic+0x", "sysrq_handle_crash", "ksys_write+0x", "entry_SYSCALL_64"}) {
    EXPECT_THAT(backtrace, HasSubstr(frame));
  }
  // The kernel's tables, whatever form they have, lead from the call of the system on.
  EXPECT_THAT(backtrace, Not(HasSubstr("no ORC tables")));
  EXPECT_THAT(backtrace, HasSubstr("\n        ksys_write+0x"));
  EXPECT_THAT(backtrace, HasSubstr("\n        entry_SYSCALL_64"));
  EXPECT_THAT(banner, HasSubstr("Linux version "));
  EXPECT_EQ(facts["format"], "stasis.dump/1");
  // The same stacks stand in the dump's own note.
  int panicked = 0;
  for (const nlohmann::json& stack : facts["scheduler"]["stacks"]) {
    std::string symbols;
    for (const nlohmann::json& frame : stack["frames"]) {
      symbols += frame["symbol"].get<std::string>() + "\n";
    }
    if (symbols.find("sysrq_handle_crash") == std::string::npos) continue;
    ++panicked;
    EXPECT_THAT(symbols, HasSubstr("\nksys_write+0x"));
  }
  EXPECT_EQ(panicked, 1) << facts["scheduler"]["stacks"];
}

// D5: what the host reads from memory is what the guest said of its workers just before.
TEST_P(InspectTest, SchedulersViewShowsTheWorkersAsTheGuestSawThem) {
  const StasisRun run = RunStasis(
      {"shell", "--kernel", GetParam(), "--topology", "2c", "--include", "/usr/bin/chrt",
       "--dump-dir", directory_, "--exec", R"(
mkdir -p /sys/fs/cgroup/a/b
spin() { while :; do :; done; }
for i in 1 2 3; do spin & echo $! > /sys/fs/cgroup/a/b/cgroup.procs; echo "worker $!" >&2; done
spin & renice 7 $! > /dev/null; echo "nice $!" >&2
chrt -f 10 sleep 1000 & echo "sleeper $!" >&2
sleep 2
echo c > /proc/sysrq-trigger
sleep 100
)"},
      options_);
  ASSERT_EQ(run.exit_code, 1) << run.output << run.error;
  ASSERT_FALSE(fs::is_empty(directory_)) << run.error;
  const std::string dump = fs::directory_iterator(directory_)->path().string();

  const nlohmann::json view =
      nlohmann::json::parse(Dump({"tasks", "--json", dump}), nullptr, /*allow_exceptions=*/false);
  const nlohmann::json facts = nlohmann::json::parse(Dump({"json", dump}), nullptr, false);
  const std::string runqueues = Dump({"runqueues", dump});
  const std::string cgroups = Dump({"cgroups", dump});
  const std::string filtered = Dump({"tasks", "--cgroup", "/a", "--state", "R", dump});
  const std::string scx = Dump({"scx", dump});

  // The pids that the guest's shell told, by what they were.
  std::multimap<std::string, int> told;
  for (const std::string& line : SplitLines(run.error)) {
    char what[16] = {};
    int pid = 0;
    if (sscanf(line.c_str(), "%15s %d", what, &pid) == 2) told.emplace(what, pid);
  }
  ASSERT_EQ(told.count("worker"), 3u) << run.error;
  std::map<int, nlohmann::json> tasks;
  for (const nlohmann::json& task : view["tasks"]) tasks[task["pid"].get<int>()] = task;
  for (auto [it, end] = told.equal_range("worker"); it != end; ++it) {
    const nlohmann::json& task = tasks[it->second];
    EXPECT_EQ(task["cgroup"], "/a/b") << task;
    EXPECT_EQ(task["state"], "R") << task;
    EXPECT_EQ(task["queued"], true) << task;
    EXPECT_EQ(task["cpus_allowed"], "0-1") << task;
    EXPECT_GT(task["run_ns"], 0) << task;
  }
  EXPECT_EQ(tasks[told.find("nice")->second]["nice"], 7);
  const nlohmann::json& sleeper = tasks[told.find("sleeper")->second];
  EXPECT_EQ(sleeper["policy"], "fifo");
  EXPECT_EQ(sleeper["rt_priority"], 10);
  EXPECT_EQ(sleeper["state"], "S");
  EXPECT_EQ(tasks[1]["comm"], "init");
  // Every task on a runqueue is counted by it.
  for (const nlohmann::json& rq : view["runqueues"]) {
    int queued = 0;
    for (const auto& [pid, task] : tasks) {
      queued += pid != 0 && task["queued"] == true && task["cpu"] == rq["cpu"];
    }
    EXPECT_EQ(rq["nr_running"], queued) << rq;
  }
  EXPECT_TRUE(view["unavailable"].empty()) << view["unavailable"];
  // The dump's own note holds the same view, read while the guest stood still.
  EXPECT_EQ(facts["scheduler"]["tasks"].size(), view["tasks"].size());
  EXPECT_EQ(facts["scheduler"]["runqueues"], view["runqueues"]);
  EXPECT_THAT(runqueues, HasSubstr("waiting "));
  EXPECT_THAT(cgroups, HasSubstr("/a/b\n"));
  EXPECT_THAT(filtered, HasSubstr("3 of "));
  EXPECT_THAT(scx, HasSubstr(GetParam() == "7" ? "sched_ext  disabled" : "without sched_ext"));
}

INSTANTIATE_TEST_SUITE_P(Kernels, InspectTest, testing::Values("6.1", "6.12", "7"),
                         [](const auto& info) {
                           return "Linux" + std::string(info.param == "6.1"    ? "6_1"
                                                        : info.param == "6.12" ? "6_12"
                                                                               : "7");
                         });

}  // namespace
}  // namespace stasis
