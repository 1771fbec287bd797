#include "guest/agent/runner.h"

#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>

#include <filesystem>
#include <fstream>
#include <optional>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "guest/agent/system.h"

namespace stasis::agent {
namespace {

namespace fs = std::filesystem;

// Runs scenarios with real workers on this host. Plain files play the cgroup tree: what would be
// written to the kernel can be read back from them.
class RunnerTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "/cgroupXXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
    Put("cgroup.controllers", "cpuset cpu memory\n");
    Put("cgroup.subtree_control", "");
    Put("stasis/cgroup.subtree_control", "");
    for (const char* file : {"cpuset.cpus", "cpu.weight", "cpu.max", "cgroup.procs"}) {
      Put(absl::StrCat("stasis/left/", file), "");
    }
    cpu_set_t mask;
    ASSERT_EQ(sched_getaffinity(0, sizeof(mask), &mask), 0);
    for (uint32_t cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (CPU_ISSET(cpu, &mask)) cpus_.online.Add(cpu);
    }
    cpus_.llcs = cpus_.nodes = {cpus_.online};
    scenario_.duration = absl::Milliseconds(300);
    scenario_.cgroups = {{.name = "left", .cpus = "all", .work = {{.workers = 2}}}};
    runner_.emplace([this](const wire::AgentMessage& message) { messages_.push_back(message); },
                    root_);
  }
  void TearDown() override {
    runner_.reset();
    fs::remove_all(root_);
  }

  void Put(const std::string& path, const std::string& text) {
    fs::create_directories(fs::path(root_ + "/" + path).parent_path());
    std::ofstream(root_ + "/" + path) << text;
  }

  // The main loop. Ends with the run.
  void RunToTheEnd() {
    while (runner_->running()) {
      pollfd timer = {.fd = runner_->timer_fd(), .events = POLLIN};
      ASSERT_EQ(poll(&timer, 1, 20000), 1) << "no sample was due in 20 s";
      int status;
      pid_t pid;
      while ((pid = waitpid(-1, &status, WNOHANG)) > 0) runner_->OnChildExit(pid, status);
      if (runner_->running()) runner_->OnTimer();
    }
  }

  template <typename T>
  std::vector<T> All() const {
    std::vector<T> found;
    for (const wire::AgentMessage& message : messages_) {
      if (const T* body = std::get_if<T>(&message)) found.push_back(*body);
    }
    return found;
  }

  std::string root_;
  CpuGroups cpus_;
  Scenario scenario_;
  std::vector<wire::AgentMessage> messages_;
  std::optional<Runner> runner_;
};

TEST_F(RunnerTest, RunLastsItsTimeAndReportsAllWorkers) {
  runner_->Start(scenario_, cpus_);
  RunToTheEnd();

  const auto results = All<wire::Result>();
  ASSERT_EQ(results.size(), 1u);
  const Measurements& run = results[0].measurements;
  EXPECT_GE(run.end_ns - run.start_ns, 300000000u);
  ASSERT_EQ(run.workers.size(), 2u);
  for (const WorkerMeasurement& worker : run.workers) {
    EXPECT_TRUE(worker.started);
    EXPECT_FALSE(worker.ended_early);
    EXPECT_GT(worker.iterations, 0u);
    EXPECT_GT(worker.run_ns, 0u);
    EXPECT_EQ(worker.cpus_allowed, cpus_.online);
    EXPECT_TRUE(worker.cpus_used.Without(cpus_.online).empty());
    EXPECT_FALSE(worker.cpus_used.empty());
  }
  EXPECT_GE(All<wire::WorkerSamples>().size(), 3u);
  EXPECT_TRUE(std::holds_alternative<wire::Result>(messages_.back()));
}

TEST_F(RunnerTest, NoWorkerIsLeftBehind) {
  runner_->Start(scenario_, cpus_);
  RunToTheEnd();

  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1);
  EXPECT_EQ(errno, ECHILD);
}

TEST_F(RunnerTest, WorkersAreThereForADumpWhenTheResultIsSent) {
  runner_->Start(scenario_, cpus_);
  while (All<wire::Result>().empty()) {
    pollfd timer = {.fd = runner_->timer_fd(), .events = POLLIN};
    ASSERT_EQ(poll(&timer, 1, 20000), 1);
    runner_->OnTimer();
  }
  const pid_t worker = All<wire::Result>()[0].measurements.workers[0].pid;

  EXPECT_TRUE(runner_->running());
  EXPECT_EQ(kill(worker, 0), 0);
  runner_->Stop();

  EXPECT_FALSE(runner_->running());
  EXPECT_EQ(kill(worker, 0), -1);
  EXPECT_EQ(All<wire::Result>().size(), 1u);
}

TEST_F(RunnerTest, StepsAreCarriedOutInTimeAndPhasesLieBetweenThem) {
  scenario_.duration = absl::Milliseconds(1000);
  scenario_.steps = {{.at = absl::Milliseconds(350),
                      .actions = {{.kind = ActionKind::kSetWeight, .target = "left", .weight = 7}}}};
  runner_->Start(scenario_, cpus_);
  RunToTheEnd();

  const auto results = All<wire::Result>();
  ASSERT_EQ(results.size(), 1u);
  const Measurements& run = results[0].measurements;
  ASSERT_EQ(run.steps.size(), 1u);
  EXPECT_GE(run.steps[0].began_ns, 350000000u);
  EXPECT_EQ(run.steps[0].error, "");
  ASSERT_EQ(All<wire::StepDone>().size(), 1u);
  ASSERT_EQ(run.phases.size(), 2u);
  EXPECT_EQ(run.phases[0].start_ns, run.start_ns);
  EXPECT_GE(run.phases[0].end_ns, run.start_ns + 350000000u);
  EXPECT_GE(run.phases[1].start_ns, run.start_ns + run.steps[0].ended_ns + 200000000u);
  EXPECT_EQ(run.phases[1].end_ns, run.end_ns);
  EXPECT_EQ(run.phases[1].workers.size(), 2u);
  EXPECT_GE(run.marks_ns.size(), 5u);
  ASSERT_EQ(run.groups.size(), 1u);
  EXPECT_EQ(run.groups[0].iterations.size(), run.marks_ns.size());
  EXPECT_GT(run.calibration_ns, 0u);
}

TEST_F(RunnerTest, StepThatFailsEndsTheRunWithItsReason) {
  scenario_.duration = absl::Hours(1);
  scenario_.steps = {{.at = absl::Milliseconds(50),
                      .actions = {{.kind = ActionKind::kRun, .command = {"/bin/false"}}}}};
  runner_->Start(scenario_, cpus_);
  RunToTheEnd();

  const auto errors = All<wire::Error>();
  ASSERT_EQ(errors.size(), 1u);
  EXPECT_EQ(errors[0].layer, "workload");
  EXPECT_TRUE(absl::StrContains(errors[0].text, "step 1 at 50ms (run /bin/false): exit code 1"))
      << errors[0].text;
  EXPECT_TRUE(All<wire::Result>().empty());
}

TEST_F(RunnerTest, CgroupGetsWhatTheScenarioSays) {
  scenario_.cgroups[0].weight = 50;
  scenario_.cgroups[0].max = CpuMax{absl::Milliseconds(50), absl::Milliseconds(100)};
  runner_->Start(scenario_, cpus_);

  EXPECT_EQ(*ReadText(root_ + "/stasis/left/cpuset.cpus"), cpus_.online.ToString());
  EXPECT_EQ(*ReadText(root_ + "/stasis/left/cpu.weight"), "50");
  EXPECT_EQ(*ReadText(root_ + "/stasis/left/cpu.max"), "50000 100000");
  EXPECT_NE(*ReadText(root_ + "/stasis/left/cgroup.procs"), "");
}

TEST_F(RunnerTest, AffinityAndNiceHoldForTheWorker) {
  const uint32_t first = cpus_.online.Cpus()[0];
  scenario_.cgroups[0].work = {{.nice = 7, .cpus = absl::StrCat(first)}};
  runner_->Start(scenario_, cpus_);
  RunToTheEnd();

  const auto results = All<wire::Result>();
  ASSERT_EQ(results.size(), 1u);
  EXPECT_EQ(results[0].measurements.workers[0].cpus_used, CpuSet::Of({first}));
  EXPECT_EQ(results[0].measurements.workers[0].cpus_allowed, CpuSet::Of({first}));
}

TEST_F(RunnerTest, StoppedWorkerHasAGapThatIsNotOver) {
  scenario_.cgroups[0].work[0].workers = 1;
  runner_->Start(scenario_, cpus_);
  ASSERT_TRUE(runner_->running());
  const std::string pid = *ReadText(root_ + "/stasis/left/cgroup.procs");
  // It may be stopped before it ever ran: that is a gap from the start on.
  kill(static_cast<pid_t>(std::stoi(pid)), SIGSTOP);
  RunToTheEnd();

  const WorkerMeasurement worker = All<wire::Result>()[0].measurements.workers[0];
  EXPECT_TRUE(worker.gap_unfinished);
  EXPECT_GT(worker.max_gap_ns, 150000000u);
}

TEST_F(RunnerTest, WorkerThatDiesEndsTheRunAndIsReported) {
  scenario_.cgroups[0].work[0].workers = 1;
  scenario_.duration = absl::Hours(1);
  runner_->Start(scenario_, cpus_);
  const std::string pid = *ReadText(root_ + "/stasis/left/cgroup.procs");
  kill(static_cast<pid_t>(std::stoi(pid)), SIGSEGV);
  RunToTheEnd();

  const WorkerMeasurement worker = All<wire::Result>()[0].measurements.workers[0];
  EXPECT_TRUE(worker.ended_early);
  EXPECT_EQ(worker.exit_signal, SIGSEGV);
}

TEST_F(RunnerTest, MissingControllerIsAMissingFeature) {
  Put("cgroup.controllers", "memory\n");
  runner_->Start(scenario_, cpus_);

  const auto errors = All<wire::Error>();
  ASSERT_EQ(errors.size(), 1u);
  EXPECT_EQ(errors[0].kind, wire::ErrorKind::kMissingFeature);
  EXPECT_TRUE(absl::StrContains(errors[0].text, "cpuset")) << errors[0].text;
  EXPECT_FALSE(runner_->running());
}

TEST_F(RunnerTest, CpusThatTheMachineLacksAreAMissingFeature) {
  scenario_.cgroups[0].cpus = "llc:7";
  runner_->Start(scenario_, cpus_);

  const auto errors = All<wire::Error>();
  ASSERT_EQ(errors.size(), 1u);
  EXPECT_EQ(errors[0].kind, wire::ErrorKind::kMissingFeature);
  EXPECT_TRUE(absl::StrContains(errors[0].text, "cgroup 'left'")) << errors[0].text;
}

TEST_F(RunnerTest, ImpossibleRequestsAreRefused) {
  scenario_.cgroups[0].work[0].workers = kMaxWorkers + 1;
  runner_->Start(scenario_, cpus_);
  scenario_.cgroups[0].work[0].workers = 0;
  runner_->Start(scenario_, cpus_);
  scenario_.cgroups[0].work[0].workers = 1;
  scenario_.duration = absl::ZeroDuration();
  runner_->Start(scenario_, cpus_);

  EXPECT_EQ(All<wire::Error>().size(), 3u);
  EXPECT_FALSE(runner_->running());
}

TEST_F(RunnerTest, SecondScenarioAtOnceIsRefusedAndTheFirstGoesOn) {
  runner_->Start(scenario_, cpus_);
  runner_->Start(scenario_, cpus_);
  EXPECT_EQ(All<wire::Error>().size(), 1u);
  RunToTheEnd();

  EXPECT_EQ(All<wire::Result>().size(), 1u);
}

}  // namespace
}  // namespace stasis::agent
