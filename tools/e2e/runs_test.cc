// Several runs in real guests, side by side: all in one result, which compares with itself.
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tools/e2e/boot_case.h"
#include "tools/stasis/run_stasis.h"

namespace stasis {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

// Timers give wake-up latencies, the hog iterations.
constexpr char kScenario[] = R"(
summary = "Timers beside a hog"
duration = "1s"

[machine]
topology = "1n1l2c1t"
memory = "256M"

[[cgroup]]
name = "all"
work = [{ kind = "timer_wake", workers = 2, period = "10ms" }, { kind = "cpu_spin", workers = 1 }]

[expect]
min_iterations = 1
)";

class RunsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string why = WhyNot({});
    if (!why.empty()) GTEST_SKIP() << why;
    std::string name = ::testing::TempDir() + "/runs_test.XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    directory_ = name;
    std::ofstream(directory_ + "/calm.toml") << kScenario;
    // It should see a worker outside of its CPUs, and sees none: a failure that no noise excuses.
    std::ofstream(directory_ + "/odd.toml")
        << kScenario << "isolation = true\nshould_fail = \"isolation\"\n";
    options_.time_limit = std::chrono::seconds(500);
  }
  void TearDown() override {
    if (!directory_.empty()) fs::remove_all(directory_);
  }

  StasisRun Run(const std::vector<std::string>& arguments) {
    StasisRun run = RunStasis(arguments, options_);
    EXPECT_EQ(run.processes_left, 0);
    return run;
  }

  std::string directory_;
  RunStasisOptions options_;
};

TEST_F(RunsTest, RunsSideBySideAreAllJudgedDumpedAndComparable) {
  const std::string json = directory_ + "/results.json";

  StasisRun run = Run({"run", directory_ + "/calm.toml", directory_ + "/odd.toml", "--repeat", "2",
                       "--jobs", "2", "--json", json, "--dump", "fail", "--dump-dir",
                       directory_ + "/dumps"});

  ASSERT_EQ(run.exit_code, 1) << run.output << run.error;
  EXPECT_THAT(run.output, StartsWith("FAIL: 2 of 4 runs failed, 2 passed\n"));
  EXPECT_THAT(run.output, HasSubstr("scheduler: isolation: 0 of 3 workers outside"));
  EXPECT_THAT(run.error, HasSubstr("stasis: 4 runs, "));
  std::ifstream file(json);
  const nlohmann::json result = nlohmann::json::parse(file, nullptr, false);
  ASSERT_TRUE(result.is_object());
  EXPECT_EQ(result["counts"], nlohmann::json({{"pass", 2}, {"fail", 2}}));
  // In the emulated host every process has the same id: a dump of its own for each all the same.
  std::set<std::string> dumps;
  for (const nlohmann::json& one : result["runs"]) {
    EXPECT_FALSE(one["workers"].empty());
    for (const nlohmann::json& dump : one["dumps"]) {
      EXPECT_TRUE(fs::exists(dump["path"].get<std::string>())) << dump;
      dumps.insert(dump["path"].get<std::string>());
    }
  }
  EXPECT_EQ(dumps.size(), 2u);

  StasisRun comparison = Run({"compare", json, json});

  EXPECT_EQ(comparison.exit_code, 0) << comparison.output << comparison.error;
  EXPECT_THAT(comparison.output, AllOf(StartsWith("SAME OR BETTER: "),
                                       HasSubstr("all timer_wake wake-up p99"),
                                       HasSubstr("all cpu_spin iterations")));
}

}  // namespace
}  // namespace stasis
