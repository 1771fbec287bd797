// Real sched_ext schedulers in real guests: the correct ones pass, each broken one is caught by
// name.
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "nlohmann/json.hpp"
#include "tools/e2e/built_schedulers.h"
#include "tools/stasis/run_stasis.h"

namespace stasis {
namespace {

namespace fs = std::filesystem;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr int kSoakRuns = 20;

struct SchedulerScenario {
  const char* name;
  const char* says;    // on the first line of its report
  const char* reason;  // of the kernel, when that ends the scheduler
};

std::ostream& operator<<(std::ostream& out, const SchedulerScenario& scenario) {
  return out << scenario.name;
}

constexpr SchedulerScenario kScenarios[] = {
    {"scx_fifo_vtime", "PASS", ""},
    {"scx_simple", "PASS", ""},
    {"scx_broken_lose", "PASS: fails as it should: the kernel ended broken", "runnable task stall"},
    {"scx_broken_leak_dsq", "PASS: fails as it should: the kernel ended broken",
     "runnable task stall"},
    {"scx_broken_wrong_cpu", "PASS: fails as it should: the kernel ended broken", "runtime error"},
    {"scx_broken_starve", "PASS: fails as it should: max_gap", ""},
    {"scx_broken_burn", "PASS: fails as it should: max_gap", ""},
};

class SchedulerTest : public ::testing::TestWithParam<SchedulerScenario> {
 protected:
  void SetUp() override {
    const BuiltSchedulers built = FindBuiltSchedulers();
    if (!built.why_not.empty()) GTEST_SKIP() << built.why_not;
    schedulers_ = built.folder;
    std::string name = ::testing::TempDir() + "/scheduler_test.XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    directory_ = name;
  }
  void TearDown() override {
    if (!directory_.empty()) fs::remove_all(directory_);
  }

  std::string Script(const std::string& text) {
    const std::string path = directory_ + "/script";
    std::ofstream(path) << "#!/bin/sh\n" << text << "\n";
    chmod(path.c_str(), 0755);
    return path;
  }

  StasisRun Run(std::vector<std::string> arguments) {
    const std::string json = directory_ + "/result.json";
    fs::remove(json);
    arguments.insert(arguments.begin() + 2, {"--kernel", kSchedulerKernel, "--json", json});
    RunStasisOptions options;
    options.time_limit = std::chrono::seconds(400);
    StasisRun run = RunStasis(arguments, options);
    EXPECT_EQ(run.processes_left, 0);
    std::ifstream file(json);
    json_ = nlohmann::json::parse(file, nullptr, /*allow_exceptions=*/false);
    return run;
  }

  // What is wrong with a run of the scenario; empty: nothing.
  std::string Check(const SchedulerScenario& scenario, const StasisRun& run) const {
    if (run.exit_code != 0) return absl::StrCat("exit code ", run.exit_code);
    if (run.output.rfind(scenario.says, 0) != 0) return "the first line says something else";
    if (!json_.is_object() || !json_.contains("scheduler")) return "no scheduler in the JSON";
    const nlohmann::json& scheduler = json_["scheduler"];
    if (scheduler.value("attached_ns", uint64_t{0}) == 0) return "never attached";
    const std::string reason =
        scheduler.contains("end") ? scheduler["end"].value("reason", "") : "";
    if (reason != scenario.reason) return absl::StrCat("the kernel's reason is '", reason, "'");
    // The monitor looked on, and has nothing against a correct scheduler.
    const nlohmann::json& monitor = json_["monitor"];
    if (!monitor.is_object() || monitor.value("samples", 0) == 0) return "the monitor saw nothing";
    if (std::string(scenario.says) == "PASS" && !monitor["findings"].empty()) {
      return absl::StrCat("the monitor's false alarm: ", monitor["findings"].dump());
    }
    return "";
  }

  std::string directory_;
  std::string schedulers_;
  nlohmann::json json_;
};

TEST_P(SchedulerTest, ScenarioEndsAsItSays) {
  const StasisRun run = Run({"run", GetParam().name});

  EXPECT_EQ(Check(GetParam(), run), "") << run.output << run.error;
}

INSTANTIATE_TEST_SUITE_P(Schedulers, SchedulerTest, ::testing::ValuesIn(kScenarios),
                         [](const auto& info) { return std::string(info.param.name); });

// Every run counts: a scheduler that is caught nineteen times of twenty is not caught.
class SchedulerSoakTest : public SchedulerTest {};

TEST_P(SchedulerSoakTest, ScenarioEndsAsItSaysTwentyTimesOfTwenty) {
  std::map<std::string, int> wrong;
  int right = 0;
  for (int i = 0; i < kSoakRuns; ++i) {
    const StasisRun run = Run({"run", GetParam().name});
    const std::string problem = Check(GetParam(), run);
    if (problem.empty()) {
      ++right;
    } else if (++wrong[problem] == 1) {
      ADD_FAILURE() << problem << "\n" << run.output << run.error;
    }
    printf("%s: %d right of %d\n", GetParam().name, right, i + 1);
    fflush(stdout);
  }
  EXPECT_EQ(right, kSoakRuns);
}

INSTANTIATE_TEST_SUITE_P(Soak, SchedulerSoakTest, ::testing::ValuesIn(kScenarios),
                         [](const auto& info) { return std::string(info.param.name); });

// The host has named the task, and dumped, before the kernel's watchdog tears it all down.
TEST_F(SchedulerTest, LostTaskFailsAScenarioByItsNameWithADumpAndTheKernelsReason) {
  const StasisRun run = Run({"run", "steady", "--dump", "fail", "--dump-dir", directory_ + "/dumps",
                             "--scheduler", "scx_broken", "--", "lose"});

  EXPECT_EQ(run.exit_code, 1) << run.output << run.error;
  EXPECT_THAT(run.output, ContainsRegex("^FAIL: scheduler: [a-z_/0-9]+ \\(pid [0-9]+, cgroup /[^)]+\\) has "
                                        "waited 1\\.[6-9][0-9] s for CPU [01], "));
  EXPECT_THAT(run.output, HasSubstr("it is in no queue of sched_ext: scheduler 'broken' has it, or "
                                    "has lost it; limit 1.60 s, 0.8 of its watchdog's"));
  EXPECT_THAT(run.output, HasSubstr("warning: FAIL: scheduler: the kernel ended broken "));
  EXPECT_THAT(run.output, HasSubstr(" into the run: runnable task stall: "));
  EXPECT_THAT(run.output, HasSubstr("the kernel's debug dump:\n"));
  ASSERT_TRUE(json_.is_object());
  const nlohmann::json& scheduler = json_["scheduler"];
  EXPECT_EQ(json_["layer"], "scheduler");
  EXPECT_EQ(scheduler["end"]["kind"], "stall");
  EXPECT_THAT(scheduler["end"]["debug_dump"], HasSubstr("failed to run for"));
  EXPECT_THAT(scheduler["stdout"], HasSubstr("broken attached: lose"));
  ASSERT_EQ(json_["dumps"].size(), 1u) << json_["dumps"];
  EXPECT_EQ(json_["dumps"][0]["trigger"], "scheduler-stall");
  const std::string dump = json_["dumps"][0]["path"];
  const StasisRun tasks = RunStasis({"dump", "tasks", dump}, {});
  const StasisRun facts = RunStasis({"dump", "json", dump}, {});
  // The dump lists the task first, and what it says of its queue.
  const std::string pid = absl::StrCat(json_["monitor"]["findings"][0]["pid"].get<int>());
  const std::vector<std::string> rows = SplitLines(tasks.output);
  ASSERT_GT(rows.size(), 4u) << tasks.error;
  EXPECT_THAT(rows[1], HasSubstr("queue none"));
  // Four are lost within a few milliseconds of each other.
  EXPECT_THAT(rows[1] + rows[2] + rows[3] + rows[4], HasSubstr(" " + pid + " "));
  const nlohmann::json json = nlohmann::json::parse(facts.output, nullptr, false);
  EXPECT_EQ(json["trigger"]["source"], "monitor");
  EXPECT_TRUE(json.contains("early"));
  EXPECT_GT(json["monitor"]["samples"].size(), 5u);
}

// What catches a broken scheduler must let a correct one go.
TEST_F(SchedulerTest, CorrectSchedulerInPlaceOfTheBrokenOneIsNotCaught) {
  const StasisRun run = Run({"run", "scx_broken_burn", "--scheduler", "scx_fifo_vtime"});

  EXPECT_EQ(run.exit_code, 1) << run.output << run.error;
  EXPECT_THAT(run.output, StartsWith("FAIL: scheduler: max_gap: "));
  EXPECT_THAT(run.output, HasSubstr("should have been outside of 500ms"));
  EXPECT_THAT(run.output, HasSubstr("in place of the scenario's scx_broken burn"));
}

TEST_F(SchedulerTest, ProgramThatExitsAtOnceIsALoadFailure) {
  const std::string script = Script("echo 'no such map' >&2; exit 3");

  const StasisRun run = Run({"run", "steady", "--scheduler", script});

  EXPECT_EQ(run.exit_code, 1) << run.output << run.error;
  EXPECT_THAT(run.output, StartsWith("FAIL: scheduler load: script exited with code 3 after "));
  EXPECT_THAT(run.output, HasSubstr("it said: no such map\n"));
}

TEST_F(SchedulerTest, ProgramThatNeverAttachesIsALoadFailureWithItsOutput) {
  Script("echo waiting; read never < /dev/console");
  const std::string scenario = directory_ + "/never.toml";
  std::ofstream(scenario) << "duration = \"1s\"\n[scheduler]\npath = \"script\"\n"
                             "attach_limit = \"2s\"\n[[cgroup]]\nname = \"a\"\n"
                             "work = [{ kind = \"cpu_spin\" }]\n[expect]\nmin_iterations = 1\n";

  const StasisRun run = Run({"run", scenario});

  EXPECT_EQ(run.exit_code, 1) << run.output << run.error;
  EXPECT_THAT(run.output, StartsWith("FAIL: scheduler load: script was not attached within 2."));
  EXPECT_THAT(run.output, HasSubstr("(sched_ext is disabled); it said: waiting\n"));
}

}  // namespace
}  // namespace stasis
