// The built binary with several runs, and comparing their results. Guests, where there are any, are
// kernels of a few bytes.
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tools/stasis/run_stasis.h"
#include "vmm/boot/testing/test_images.h"

namespace stasis {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

class RunManyTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = ::testing::TempDir() + "/run_many_test.XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    directory_ = name;
    fs::create_directory(directory_ + "/tmp");
    options_.environment = {{"STASIS_CACHE", directory_ + "/cache"}, {"HOME", directory_},
                            {"STASIS_KERNEL", ""},                   {"STASIS_ACCEL", "kvm"},
                            {"TMPDIR", directory_ + "/tmp"}};
  }
  void TearDown() override {
    // What the runs had in between is gone, however they ended.
    EXPECT_TRUE(fs::is_empty(directory_ + "/tmp"));
    fs::remove_all(directory_);
  }

  StasisRun Run(const std::vector<std::string>& arguments) {
    StasisRun run = RunStasis(arguments, options_);
    EXPECT_EQ(run.processes_left, 0);
    return run;
  }
  std::string WriteFile(const std::string& name, const std::string& contents) {
    const std::string path = directory_ + "/" + name;
    std::ofstream(path, std::ios::binary) << contents;
    return path;
  }
  std::string Read(const std::string& name) {
    std::ifstream file(directory_ + "/" + name);
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
  }
  json ReadJson(const std::string& name) { return json::parse(Read(name), nullptr, false); }

  std::string directory_;
  RunStasisOptions options_;
};

TEST_F(RunManyTest, AScenarioThatCannotBeReadStopsAllBeforeAnyRuns) {
  StasisRun run = Run({"run", "steady", "nosuch", "--json", directory_ + "/all.json"});

  EXPECT_EQ(run.exit_code, 2);
  EXPECT_THAT(run.error, AllOf(StartsWith("USAGE"), HasSubstr("nosuch")));
  EXPECT_EQ(run.output, "");
  EXPECT_EQ(ReadJson("all.json")["verdict"], "usage");
}

TEST_F(RunManyTest, TopologyThatAScenarioCannotUseIsUsage) {
  StasisRun run = Run({"run", "steady", "--repeat", "2", "--topology", "1c"});

  EXPECT_EQ(run.exit_code, 2);
  EXPECT_THAT(run.error, HasSubstr("needs at least 2 CPUs"));
}

TEST_F(RunManyTest, NumbersOutsideOfTheirRangeAreUsage) {
  EXPECT_EQ(Run({"run", "steady", "--repeat", "0"}).exit_code, 2);
  EXPECT_EQ(Run({"run", "steady", "--jobs", "0"}).exit_code, 2);
  EXPECT_EQ(Run({"run", "steady", "--repeat", "many"}).exit_code, 2);
}

TEST_F(RunManyTest, UnsupportedTopologyIsSkippedOnRequest) {
  if (access("/dev/kvm", R_OK | W_OK) != 0) GTEST_SKIP() << "no /dev/kvm that may be opened";

  StasisRun run = Run({"run", "steady", "--topology", "1c", "--skip-unsupported", "--junit",
                       directory_ + "/test.xml"});

  EXPECT_EQ(run.exit_code, 0) << run.error;
  EXPECT_THAT(run.output, StartsWith("SKIPPED: scenario steady needs at least 2 CPUs"));
  EXPECT_THAT(Read("test.xml"), HasSubstr("<skipped message="));
}

// Kernels of a few bytes: even a KVM that cannot run a stock kernel runs them.
class RunManyGuestTest : public RunManyTest {
 protected:
  void SetUp() override {
    RunManyTest::SetUp();
    if (access("/dev/kvm", R_OK | W_OK) != 0) GTEST_SKIP() << "no /dev/kvm that may be opened";
  }
  std::string KernelOf(const std::string& code) {
    const stasis::testing::Bytes bytes = stasis::testing::MakeElf({});
    std::string image(bytes.begin(), bytes.end());
    image.replace(stasis::testing::kElfSegmentOffset + stasis::testing::kElfEntryOffset,
                  code.size(), code);
    return WriteFile("vmlinux", image);
  }
  std::string TripleFault() { return KernelOf(std::string("\x0f\x0b", 2)); }  // ud2, no IDT
  std::string Halt() { return KernelOf("\xf4"); }                            // interrupts are off
};

TEST_F(RunManyGuestTest, EveryRunIsInTheTableTheJsonAndTheXml) {
  StasisRun run = Run({"run", "steady", "bursty", "--repeat", "2", "--jobs", "2", "--kernel",
                       TripleFault(), "--json", directory_ + "/all.json", "--junit",
                       directory_ + "/test.xml"});

  EXPECT_EQ(run.exit_code, 1) << run.output << run.error;
  EXPECT_THAT(run.output, StartsWith("FAIL: 4 of 4 runs failed\n"));
  EXPECT_THAT(run.output, HasSubstr("boot: triple fault on vCPU 0"));
  EXPECT_THAT(run.output, HasSubstr("== bursty #1\nFAIL: boot: triple fault"));
  EXPECT_THAT(run.error, AllOf(HasSubstr("stasis: 4 runs, "), HasSubstr("stasis: bursty #2: FAIL")));
  const json result = ReadJson("all.json");
  ASSERT_TRUE(result.is_object());
  EXPECT_EQ(result["format"], "stasis.results/1");
  EXPECT_EQ(result["exit_code"], 1);
  ASSERT_EQ(result["runs"].size(), 4u);
  EXPECT_EQ(result["runs"][3]["run"]["scenario"], "bursty");
  EXPECT_EQ(result["runs"][3]["run"]["repeat"], 2);
  EXPECT_EQ(result["runs"][3]["scenario"]["name"], "bursty");
  EXPECT_EQ(result["runs"][3]["verdict"], "fail");
  const std::string xml = Read("test.xml");
  EXPECT_THAT(xml, HasSubstr("tests=\"4\" failures=\"4\""));
  EXPECT_THAT(xml, HasSubstr("<testcase classname=\"bursty\" name=\"run 2\""));
}

TEST_F(RunManyGuestTest, DumpsOfRunsStandInFoldersOfTheirOwn) {
  StasisRun run =
      Run({"run", "steady", "bursty", "--kernel", TripleFault(), "--dump", "fail", "--dump-dir",
           directory_ + "/dumps"});

  EXPECT_EQ(run.exit_code, 1) << run.output << run.error;
  for (const char* folder : {"/dumps/steady-1", "/dumps/bursty-1"}) {
    size_t files = 0;
    for (const auto& entry : fs::directory_iterator(directory_ + folder)) {
      files += entry.path().extension() == ".vmcore";
    }
    EXPECT_EQ(files, 1u) << folder;
  }
}

TEST_F(RunManyGuestTest, NothingIsLeftWhereNothingWasDumped) {
  Run({"run", "steady", "bursty", "--kernel", TripleFault(), "--dump", "never", "--dump-dir",
       directory_ + "/dumps"});

  EXPECT_FALSE(fs::exists(directory_ + "/dumps"));
}

TEST_F(RunManyGuestTest, KernelThatIsNotThereIsAnErrorOfEveryRun) {
  StasisRun run = Run({"run", "steady", "bursty", "--kernel", directory_ + "/none"});

  EXPECT_EQ(run.exit_code, 3) << run.output << run.error;
  EXPECT_THAT(run.output, StartsWith("ERROR: 2 of 2 runs had an error\n"));
  EXPECT_THAT(run.output, HasSubstr("host: "));
}

TEST_F(RunManyGuestTest, OneRunForABuildKeepsItsFormatsAndFillsTheFolder) {
  const std::string outputs = directory_ + "/outputs";
  fs::create_directory(outputs);
  options_.environment["TEST_UNDECLARED_OUTPUTS_DIR"] = outputs;
  options_.environment["XML_OUTPUT_FILE"] = directory_ + "/test.xml";
  options_.environment["STASIS_DUMP"] = "fail";

  StasisRun run =
      Run({"run", "steady", "--kernel", TripleFault(), "--json", directory_ + "/one.json"});

  EXPECT_EQ(run.exit_code, 1) << run.output << run.error;
  EXPECT_THAT(run.output, StartsWith("FAIL: boot: triple fault on vCPU 0"));
  EXPECT_EQ(ReadJson("one.json")["format"], "stasis.result/1");
  EXPECT_THAT(Read("test.xml"), AllOf(HasSubstr("tests=\"1\" failures=\"1\""),
                                      HasSubstr("<failure message=\"FAIL: boot: triple fault")));
  EXPECT_EQ(Read("outputs/stasis-report.txt"), run.output);
  EXPECT_EQ(ReadJson("outputs/stasis-result.json")["verdict"], "fail");
  size_t dumps = 0;
  for (const auto& entry : fs::directory_iterator(outputs)) {
    dumps += entry.path().extension() == ".vmcore";
  }
  EXPECT_EQ(dumps, 1u);
}

TEST_F(RunManyGuestTest, InterruptEndsAllRunsAtOnce) {
  options_.signal = SIGINT;
  options_.signal_after = "steady #1 starts";

  StasisRun run = Run({"run", "steady", "--repeat", "5", "--jobs", "1", "--kernel", Halt(),
                       "--json", directory_ + "/all.json"});

  EXPECT_EQ(run.exit_code, 130) << run.output << run.error;
  EXPECT_THAT(run.output, StartsWith("INTERRUPTED: 5 of 5 runs interrupted\n"));
  EXPECT_EQ(ReadJson("all.json")["exit_code"], 130);
}

TEST_F(RunManyGuestTest, FileThatCannotBeWrittenIsAnErrorOfTheHost) {
  StasisRun run = Run({"run", "steady", "bursty", "--kernel", TripleFault(), "--json",
                       directory_ + "/none/all.json"});

  EXPECT_EQ(run.exit_code, 3);
  EXPECT_THAT(run.error, HasSubstr("none/all.json"));
  EXPECT_THAT(run.output, HasSubstr("FAIL: 2 of 2 runs failed"));
}

// A result with `repeat` runs whose iterations lie around `iterations`.
std::string ResultsOf(double iterations) {
  json runs = json::array();
  for (int i = 0; i < 5; ++i) {
    runs.push_back({{"format", "stasis.result/1"},
                    {"verdict", "pass"},
                    {"scenario", {{"name", "steady"}}},
                    {"start_ns", 0},
                    {"end_ns", 1'000'000'000},
                    {"workers",
                     {{{"cgroup", "all"},
                       {"kind", "cpu_spin"},
                       {"iterations", iterations * (1 + 0.01 * i)},
                       {"run_ns", 900'000'000},
                       {"max_gap_ns", 1'000'000 + 1000 * i}}}}});
  }
  return json({{"format", "stasis.results/1"}, {"runs", runs}}).dump();
}

TEST_F(RunManyTest, CompareExitsWithOneForARegressionAndZeroForNone) {
  const std::string before = WriteFile("before.json", ResultsOf(1000));
  const std::string after = WriteFile("after.json", ResultsOf(700));

  StasisRun worse = Run({"compare", before, after, "--json", directory_ + "/comparison.json"});
  StasisRun better = Run({"compare", after, before});

  EXPECT_EQ(worse.exit_code, 1) << worse.error;
  EXPECT_THAT(worse.output, StartsWith("REGRESSION: 1 of 5 metrics and verdicts are worse in B; "
                                       "most: steady: all cpu_spin iterations -30% ["));
  EXPECT_EQ(ReadJson("comparison.json")["regressions"], 1);
  EXPECT_EQ(better.exit_code, 0) << better.error;
  EXPECT_THAT(better.output, StartsWith("SAME OR BETTER: 4 metrics compared, none is worse, 1"));
}

TEST_F(RunManyTest, ThresholdDecidesWhatIsOfInterest) {
  const std::string before = WriteFile("before.json", ResultsOf(1000));
  const std::string after = WriteFile("after.json", ResultsOf(700));

  EXPECT_EQ(Run({"compare", before, after, "--threshold", "50%"}).exit_code, 0);
  EXPECT_EQ(Run({"compare", before, after, "--threshold", "much"}).exit_code, 2);
  EXPECT_EQ(Run({"compare", before, after, "--confidence", "2"}).exit_code, 2);
}

TEST_F(RunManyTest, CompareRefusesBadInputWithItsReason) {
  const std::string good = WriteFile("good.json", ResultsOf(1000));
  const std::string bad = WriteFile("bad.json", "{\"format\": \"stasis.shell/1\"}");

  StasisRun missing = Run({"compare", good, directory_ + "/none.json"});
  StasisRun other = Run({"compare", bad, good});

  EXPECT_EQ(missing.exit_code, 2);
  EXPECT_THAT(missing.error, AllOf(StartsWith("USAGE: "), HasSubstr("none.json")));
  EXPECT_EQ(other.exit_code, 2);
  EXPECT_THAT(other.error, AllOf(StartsWith("USAGE: "), HasSubstr("stasis.shell/1")));
  EXPECT_EQ(Run({"compare", good}).exit_code, 2);
}

}  // namespace
}  // namespace stasis
