// Scenarios under a scheduler: shell scripts and plain files play it and the kernel.
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <filesystem>
#include <fstream>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "guest/agent/runner.h"

namespace stasis::agent {
namespace {

namespace fs = std::filesystem;

class RunnerSchedulerTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "/runnerXXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    root_ = fs::canonical(pattern);
    for (const char* file :
         {"cgroup.controllers", "cgroup.subtree_control", "stasis/cgroup.subtree_control",
          "stasis/a/cgroup.procs", "sys/kernel/sched_ext/root/none", "dev/kmsg"}) {
      fs::create_directories(fs::path(root_ + "/" + file).parent_path());
      std::ofstream(root_ + "/" + file) << "";
    }
    std::ofstream(root_ + "/sys/kernel/sched_ext/state") << "disabled\n";
    cpu_set_t mask;
    ASSERT_EQ(sched_getaffinity(0, sizeof(mask), &mask), 0);
    for (uint32_t cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (CPU_ISSET(cpu, &mask)) cpus_.online.Add(cpu);
    }
    cpus_.llcs = cpus_.nodes = {cpus_.online};
    scenario_.duration = absl::Milliseconds(300);
    scenario_.cgroups = {{.name = "a", .work = {{.workers = 1}}}};
    runner_.emplace([this](const wire::AgentMessage& message) { messages_.push_back(message); },
                    root_, root_);
  }
  void TearDown() override {
    runner_.reset();
    EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1) << "a process is left behind";
    fs::remove_all(root_);
  }

  // See scheduler_test.cc.
  void Program(const std::string& script) {
    const std::string path = root_ + "/prog";
    std::ofstream(path)
        << "#!/bin/sh\nK=" << root_ << "/sys/kernel/sched_ext\n"
        << "hide() { rm -f $K/root/ops; echo disabled > $K/s; mv $K/s $K/state; }\n"
        << "show() { echo fake > $K/root/ops; echo enabled > $K/s; mv $K/s $K/state; }\n"
        << "trap 'hide; exit 0' INT\n"
        << script << "\n";
    chmod(path.c_str(), 0755);
    scenario_.scheduler = SchedulerSpec{.path = path, .program = path};
  }

  void Run() {
    runner_->Start(scenario_, cpus_);
    while (runner_->running()) {
      std::vector<pollfd> fds = {{.fd = runner_->timer_fd(), .events = POLLIN}};
      runner_->AddPollFds(&fds);
      ASSERT_GT(poll(fds.data(), fds.size(), 20000), 0) << "nothing happens";
      runner_->HandleEvents(fds);
      int status;
      pid_t pid;
      while ((pid = waitpid(-1, &status, WNOHANG)) > 0) runner_->OnChildExit(pid, status);
      runner_->OnTimer();
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

TEST_F(RunnerSchedulerTest, WorkersRunUnderTheAttachedScheduler) {
  Program("sleep 0.3; show; while :; do sleep 0.01; done");
  Run();

  ASSERT_EQ(All<wire::Result>().size(), 1u);
  const Measurements measured = All<wire::Result>()[0].measurements;
  ASSERT_TRUE(measured.scheduler.has_value());
  EXPECT_EQ(measured.scheduler->ops, "fake");
  EXPECT_GE(measured.scheduler->samples, 4u);
  EXPECT_EQ(measured.scheduler->attached_samples, measured.scheduler->samples);
  EXPECT_GE(measured.start_ns, measured.scheduler->attached_ns);
  EXPECT_GE(measured.end_ns - measured.start_ns, 300000000u);
  ASSERT_EQ(measured.workers.size(), 1u);
  EXPECT_GT(measured.workers[0].iterations, 0u);
  EXPECT_EQ(All<wire::WorkerSamples>().back().scheduler, "enabled fake");
}

TEST_F(RunnerSchedulerTest, EndOfTheSchedulerEndsTheScenario) {
  scenario_.duration = absl::Hours(1);
  Program("show; sleep 0.5; hide; exit 4");
  Run();

  ASSERT_EQ(All<wire::Result>().size(), 1u);
  const Measurements measured = All<wire::Result>()[0].measurements;
  ASSERT_TRUE(measured.scheduler.has_value() && measured.scheduler->end.has_value());
  EXPECT_TRUE(measured.scheduler->end->attached);
  EXPECT_EQ(measured.scheduler->end->exit_code, 4);
  ASSERT_EQ(measured.workers.size(), 1u);
  EXPECT_FALSE(measured.workers[0].ended_early) << "the runner ended it";
}

TEST_F(RunnerSchedulerTest, NoWorkerIsStartedWithoutTheScheduler) {
  Program("exit 4");
  Run();

  ASSERT_EQ(All<wire::Result>().size(), 1u);
  const Measurements measured = All<wire::Result>()[0].measurements;
  ASSERT_TRUE(measured.scheduler.has_value() && measured.scheduler->end.has_value());
  EXPECT_FALSE(measured.scheduler->end->attached);
  EXPECT_TRUE(measured.workers.empty());
}

TEST_F(RunnerSchedulerTest, KernelWithoutSchedExtIsAMissingFeature) {
  Program("show");
  fs::remove_all(root_ + "/sys");
  Run();

  ASSERT_EQ(All<wire::Error>().size(), 1u);
  EXPECT_EQ(All<wire::Error>()[0].kind, wire::ErrorKind::kMissingFeature);
  EXPECT_EQ(All<wire::Error>()[0].layer, "scheduler load");
}

TEST_F(RunnerSchedulerTest, SchedulerIsEndedWhenTheWorkersCannotBeStarted) {
  Program("show; while :; do sleep 0.01; done");
  scenario_.cgroups[0].cpus = "llc:7";
  Run();

  EXPECT_EQ(All<wire::Error>().size(), 1u);
  EXPECT_FALSE(fs::exists(root_ + "/sys/kernel/sched_ext/root/ops"));
}

}  // namespace
}  // namespace stasis::agent
