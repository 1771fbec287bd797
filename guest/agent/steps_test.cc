// Steps with real workers on this host and plain files as cgroups: a thread plays the kernel where
// an answer is waited for.
#include "guest/agent/steps.h"

#include <sched.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <optional>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "guest/agent/runner.h"
#include "guest/agent/system.h"

namespace stasis::agent {
namespace {

namespace fs = std::filesystem;

class StepsTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "/stepsXXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
    Put("cgroup.controllers", "cpuset cpu memory\n");
    Put("cgroup.subtree_control", "");
    Put("stasis/cgroup.subtree_control", "");
    for (const char* cgroup : {"left", "right", "tree", "tree/leaf"}) MakeCgroup(cgroup);
    for (const char* cpu : {"cpu0", "cpu1"}) Put(absl::StrCat("cpus/", cpu, "/online"), "1");
    groups_.online = CpuSet::Of({0, 1});
    groups_.llcs = groups_.nodes = {groups_.online};
    scenario_.duration = absl::Seconds(10);
    scenario_.cgroups = {
        {.name = "left", .work = {{.name = "spin", .workers = 2}}},
        {.name = "right", .work = {{.name = "late", .at_start = false}}},
        {.name = "tree"},
        {.name = "tree/leaf", .at_start = false, .work = {{.name = "leafy"}}},
    };
  }
  void TearDown() override {
    steps_.reset();
    workers_.reset();
    cgroups_.reset();
    fs::remove_all(root_);
  }

  void MakeCgroup(const std::string& name) {
    for (const char* file : {"cpuset.cpus", "cpu.weight", "cpu.max", "memory.max", "cgroup.procs",
                             "cgroup.freeze", "cgroup.subtree_control"}) {
      Put(absl::StrCat("stasis/", name, "/", file), "");
    }
    Put(absl::StrCat("stasis/", name, "/cgroup.events"), "populated 1\nfrozen 0\n");
  }
  void Put(const std::string& path, const std::string& text) {
    fs::create_directories(fs::path(root_ + "/" + path).parent_path());
    std::ofstream(root_ + "/" + path) << text;
  }
  std::string Get(const std::string& path) { return *ReadText(root_ + "/" + path); }

  // One step per list of actions, a second after each other.
  void Prepare(std::vector<std::vector<Action>> steps) {
    for (std::vector<Action>& actions : steps) {
      scenario_.steps.push_back({.at = absl::Seconds(scenario_.steps.size() + 1),
                                 .actions = std::move(actions)});
    }
    cgroups_.emplace(root_);
    ASSERT_TRUE(cgroups_->Prepare(scenario_).ok());
    auto workers = Workers::Create(scenario_, &*cgroups_);
    ASSERT_TRUE(workers.ok()) << workers.status();
    workers_ = *std::move(workers);
    steps_.emplace(Steps::Context{
        .scenario = &scenario_,
        .cpus = &groups_,
        .cgroups = &*cgroups_,
        .workers = workers_.get(),
        .cpu_root = root_ + "/cpus",
        .request_dump = [this]() -> absl::Status {
          ++dumps_;
          return absl::OkStatus();
        },
        .change_scheduler = [this](const Action& action) -> absl::Status {
          schedulers_.push_back(ActionText(action));
          return absl::OkStatus();
        }});
    const absl::Status status = steps_->SetUp();
    ASSERT_TRUE(status.ok()) << status;
    start_ns_ = MonotonicNs();
    workers_->Go(start_ns_);
  }
  StepMeasurement Next() { return steps_->RunNext(start_ns_); }
  void ExpectNextIsDone() {
    const StepMeasurement step = Next();
    EXPECT_EQ(step.error, "") << step.what;
    EXPECT_TRUE(steps_->status().ok());
  }
  const Workers::Worker& worker(size_t index) { return workers_->all()[index]; }
  // Until the worker has got something done.
  bool Works(size_t index) {
    const uint64_t before = worker(index).figures.iterations;
    for (int i = 0; i < 2000; ++i) {
      workers_->Sample(MonotonicNs());
      if (worker(index).figures.iterations > before) return true;
      usleep(5000);
    }
    return false;
  }
  // Waits for a program of a step.
  void ReapProgram() {
    for (int i = 0; i < 2000 && !reaped_; ++i) {
      int status;
      pid_t pid;
      while ((pid = waitpid(-1, &status, WNOHANG)) > 0) reaped_ |= steps_->OnChildExit(pid, status);
      usleep(5000);
    }
    EXPECT_TRUE(reaped_);
  }

  std::string root_;
  CpuGroups groups_;
  Scenario scenario_;
  std::optional<Cgroups> cgroups_;
  std::unique_ptr<Workers> workers_;
  std::optional<Steps> steps_;
  uint64_t start_ns_ = 0;
  int dumps_ = 0;
  bool reaped_ = false;
  std::vector<std::string> schedulers_;
};

TEST_F(StepsTest, StepsAreDueInTheirOrder) {
  Prepare({{{.kind = ActionKind::kSnapshot}}, {{.kind = ActionKind::kSnapshot}}});

  EXPECT_EQ(steps_->NextNs(), 1000000000u);
  ExpectNextIsDone();
  EXPECT_EQ(steps_->NextNs(), 2000000000u);
  ExpectNextIsDone();
  EXPECT_FALSE(steps_->NextNs().has_value());
  EXPECT_EQ(dumps_, 2);
  EXPECT_EQ(steps_->done().size(), 2u);
}

TEST_F(StepsTest, CgroupSettingsAreWritten) {
  Prepare({{{.kind = ActionKind::kSetCpus, .target = "left", .cpus = "half:1"},
            {.kind = ActionKind::kSetWeight, .target = "left", .weight = 200},
            {.kind = ActionKind::kSetMax,
             .target = "left",
             .max = CpuMax{absl::Milliseconds(20), absl::Milliseconds(100)}},
            {.kind = ActionKind::kSetMax, .target = "right"},
            {.kind = ActionKind::kSetMemoryMax, .target = "left", .memory_max_bytes = 4096},
            {.kind = ActionKind::kSetMemoryMax, .target = "right"}}});

  ExpectNextIsDone();

  EXPECT_EQ(Get("stasis/left/cpuset.cpus"), "1");
  EXPECT_EQ(Get("stasis/left/cpu.weight"), "200");
  EXPECT_EQ(Get("stasis/left/cpu.max"), "20000 100000");
  EXPECT_EQ(Get("stasis/right/cpu.max"), "max");
  EXPECT_EQ(Get("stasis/left/memory.max"), "4096");
  EXPECT_EQ(Get("stasis/right/memory.max"), "max");
  EXPECT_EQ(worker(0).allowed.ToString(), "1");
  EXPECT_EQ(worker(0).figures.cpus_allowed.ToString(), "0-1");  // over the whole run
}

TEST_F(StepsTest, UnpluggedCpuIsNobodysAnyMore) {
  Prepare({{{.kind = ActionKind::kUnplugCpus, .cpus = "1"}},
           {{.kind = ActionKind::kPlugCpus, .cpus = "1"}}});

  ExpectNextIsDone();
  EXPECT_EQ(Get("cpus/cpu1/online"), "0");
  EXPECT_EQ(worker(0).allowed.ToString(), "0");

  ExpectNextIsDone();
  EXPECT_EQ(Get("cpus/cpu1/online"), "1");
  EXPECT_EQ(worker(0).allowed.ToString(), "0-1");
}

TEST_F(StepsTest, KernelWithoutHotplugLacksAFeature) {
  fs::remove(root_ + "/cpus/cpu1/online");
  Prepare({{{.kind = ActionKind::kUnplugCpus, .cpus = "1"}}});

  EXPECT_TRUE(absl::StrContains(Next().error, "CONFIG_HOTPLUG_CPU"));
  EXPECT_EQ(steps_->status().code(), absl::StatusCode::kUnimplemented);
  EXPECT_TRUE(absl::StrContains(steps_->status().message(), "step 1 at 1s (unplug_cpus 1): CPU 1"))
      << steps_->status();
}

TEST_F(StepsTest, WorkIsStartedMovedAndStopped) {
  Prepare({{{.kind = ActionKind::kStartWork, .target = "late"}},
           {{.kind = ActionKind::kMoveWork, .target = "late", .to = "left"}},
           {{.kind = ActionKind::kStopWork, .target = "late"}},
           {{.kind = ActionKind::kStartWork, .target = "late"}}});
  EXPECT_EQ(workers_->all().size(), 2u);

  ExpectNextIsDone();
  ASSERT_EQ(workers_->all().size(), 3u);
  EXPECT_EQ(Get("stasis/right/cgroup.procs"), absl::StrCat(worker(2).pid));
  EXPECT_TRUE(Works(2));

  ExpectNextIsDone();
  EXPECT_EQ(Get("stasis/left/cgroup.procs"), absl::StrCat(worker(2).pid));

  ExpectNextIsDone();
  EXPECT_EQ(worker(2).pid, -1);
  EXPECT_NE(worker(2).figures.stop_ns, 0u);
  EXPECT_FALSE(worker(2).figures.ended_early);
  EXPECT_GT(worker(2).figures.iterations, 0u);

  ExpectNextIsDone();  // another life, with figures of its own
  ASSERT_EQ(workers_->all().size(), 4u);
  EXPECT_TRUE(Works(3));
}

TEST_F(StepsTest, CgroupIsAddedBelowItsParentWithItsWork) {
  Prepare({{{.kind = ActionKind::kAddCgroup, .target = "tree/leaf"}}});

  ExpectNextIsDone();

  ASSERT_EQ(workers_->all().size(), 3u);
  EXPECT_EQ(Get("stasis/tree/leaf/cgroup.procs"), absl::StrCat(worker(2).pid));
  EXPECT_EQ(Get("stasis/tree/cgroup.subtree_control"), "+cpu");
  EXPECT_TRUE(Works(2));
}

TEST_F(StepsTest, RemovedCgroupIsGoneAndSoIsItsWork) {
  Prepare({{{.kind = ActionKind::kRemoveCgroup, .target = "left"}}});
  // The kernel removes the files of a cgroup with it.
  for (const auto& entry : fs::directory_iterator(root_ + "/stasis/left")) fs::remove(entry.path());

  ExpectNextIsDone();

  EXPECT_FALSE(fs::exists(root_ + "/stasis/left"));
  EXPECT_EQ(worker(0).pid, -1);
  EXPECT_EQ(worker(1).pid, -1);
  EXPECT_FALSE(workers_->anyone_left());
}

TEST_F(StepsTest, FrozenTimeIsNoGap) {
  Prepare({{{.kind = ActionKind::kFreezeCgroup, .target = "left"}},
           {{.kind = ActionKind::kThawCgroup, .target = "left"}}});
  ASSERT_TRUE(Works(0));
  ASSERT_TRUE(Works(1));
  std::atomic<bool> over{false};
  std::thread kernel([this, &over] {
    while (!over && *ReadText(root_ + "/stasis/left/cgroup.freeze") != "1") usleep(1000);
    for (size_t i = 0; i < 2; ++i) kill(worker(i).pid, SIGSTOP);
    Put("stasis/left/cgroup.events", "populated 1\nfrozen 1\n");
  });
  ExpectNextIsDone();
  over = true;
  kernel.join();
  EXPECT_TRUE(worker(0).frozen);
  workers_->Sample(MonotonicNs());
  const uint64_t gap_before = worker(0).figures.max_gap_ns;
  usleep(400000);
  workers_->Sample(MonotonicNs());
  EXPECT_EQ(worker(0).figures.max_gap_ns, gap_before);
  EXPECT_FALSE(workers_->WantsCpu(worker(0), MonotonicNs()));

  ExpectNextIsDone();
  for (size_t i = 0; i < 2; ++i) kill(worker(i).pid, SIGCONT);

  EXPECT_TRUE(Works(0));
  EXPECT_EQ(Get("stasis/left/cgroup.freeze"), "0");
  EXPECT_GE(worker(0).figures.frozen_ns, 400000000u);
  EXPECT_LT(worker(0).figures.max_gap_ns, 400000000u);
}

TEST_F(StepsTest, PhasesHaveTheirOwnFigures) {
  Prepare({});
  ASSERT_TRUE(Works(0));
  workers_->BeginPhase(3, MonotonicNs());
  const uint64_t before = worker(0).figures.iterations;
  ASSERT_TRUE(Works(0));
  workers_->EndPhase(MonotonicNs());

  ASSERT_EQ(workers_->phases().size(), 1u);
  const PhaseMeasurement& phase = workers_->phases()[0];
  EXPECT_EQ(phase.steps, 3u);
  ASSERT_EQ(phase.workers.size(), 2u);
  EXPECT_EQ(phase.workers[0].iterations, worker(0).figures.iterations - before);
  EXPECT_FALSE(phase.workers[0].cpus_used.empty());  // though it may never have moved
}

TEST_F(StepsTest, ProgramThatSucceedsIsNoNews) {
  Prepare({{{.kind = ActionKind::kRun, .command = {"/bin/sh", "-c", "exit 0"}}}});

  ExpectNextIsDone();
  ReapProgram();

  EXPECT_TRUE(steps_->status().ok());
}

TEST_F(StepsTest, ProgramThatFailsEndsTheScenarioWithItsLastWords) {
  Prepare({{{.kind = ActionKind::kRun,
             .command = {"/bin/sh", "-c", "echo first; echo last words >&2; exit 3"}}}});

  ExpectNextIsDone();
  ReapProgram();

  EXPECT_TRUE(absl::EndsWith(steps_->status().message(), "exit code 3: last words"))
      << steps_->status();
}

TEST_F(StepsTest, ProgramThatIsNotThereIsAMissingFeature) {
  Prepare({{{.kind = ActionKind::kRun, .command = {"/nowhere/program"}}}});

  EXPECT_TRUE(absl::StrContains(Next().error, "/nowhere/program: No such file"));
  EXPECT_EQ(steps_->status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(StepsTest, SchedulerIsSomebodyElsesBusiness) {
  Prepare({{{.kind = ActionKind::kSwitchScheduler, .command = {"scx_simple"}},
            {.kind = ActionKind::kRestartScheduler}}});

  ExpectNextIsDone();

  EXPECT_EQ(schedulers_,
            (std::vector<std::string>{"switch_scheduler scx_simple", "restart_scheduler"}));
}

TEST_F(StepsTest, ActionsBehindOneThatFailedAreNotCarriedOut) {
  fs::remove(root_ + "/stasis/left/cpu.weight");
  Prepare({{{.kind = ActionKind::kSetWeight, .target = "left", .weight = 5},
            {.kind = ActionKind::kSnapshot}}});

  EXPECT_TRUE(absl::StrContains(Next().error, "cpu.weight"));
  EXPECT_EQ(dumps_, 0);
}

TEST(ReadScxEventsTest, CountersAreReadAndTheirAbsenceToo) {
  const std::string root = testing::TempDir() + "/scx_events";
  EXPECT_FALSE(ReadScxEvents(root).has_value());
  fs::create_directories(root + "/sys/kernel/sched_ext/root");
  std::ofstream(root + "/sys/kernel/sched_ext/root/events") << "SCX_EV_A 3\nSCX_EV_B 0\nodd\n";

  const auto events = ReadScxEvents(root);

  ASSERT_TRUE(events.has_value());
  EXPECT_EQ(*events, (std::map<std::string, uint64_t>{{"SCX_EV_A", 3}, {"SCX_EV_B", 0}}));
  fs::remove_all(root);
}

}  // namespace
}  // namespace stasis::agent
