#include "guest/agent/scheduler.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "guest/agent/system.h"

namespace stasis::agent {
namespace {

namespace fs = std::filesystem;
using Phase = Scheduler::Phase;

// Plain files play the kernel, shell scripts the programs: they write what the kernel would.
class SchedulerTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "/schedulerXXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    root_ = fs::canonical(pattern);
    fs::create_directories(root_ + "/sys/kernel/sched_ext/root");
    fs::create_directories(root_ + "/dev");
    std::ofstream(root_ + "/sys/kernel/sched_ext/state") << "disabled\n";
    std::ofstream(root_ + "/dev/kmsg") << "";
    Make({.attach = absl::Seconds(20), .last_words = absl::Seconds(5), .stop = absl::Seconds(4)});
  }
  void TearDown() override {
    scheduler_.reset();
    EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1) << "a process is left behind";
    fs::remove_all(root_);
  }

  void Make(Scheduler::Limits limits) {
    scheduler_ = std::make_unique<Scheduler>(
        [this](const wire::AgentMessage& message) {
          const auto& output = std::get<wire::SchedulerOutput>(message);
          (output.stream == 1 ? out_ : err_) += output.data.data;
        },
        root_, limits);
  }

  // A program made of `script`, which may say: show OPS, hide, log TEXT, stay.
  SchedulerSpec Program(const std::string& script, const std::string& name = "prog") {
    const std::string path = absl::StrCat(root_, "/", name);
    std::ofstream file(path);
    file << "#!/bin/sh\nK=" << root_ << "/sys/kernel/sched_ext\n"
         << "show() { echo $1 > $K/ops.new; mv $K/ops.new $K/root/ops; echo enabled > $K/s.new; "
            "mv $K/s.new $K/state; }\n"
         << "hide() { rm -f $K/root/ops; echo disabled > $K/s.new; mv $K/s.new $K/state; }\n"
         << "log() { echo \"3,1,1,-;sched_ext: $1\" >> " << root_ << "/dev/kmsg; }\n"
         << "stay() { while :; do sleep 0.01; done; }\n"
         << "trap 'hide; echo bye; exit 0' INT\n"
         << script << "\n";
    file.close();
    chmod(path.c_str(), 0755);
    return {.path = path, .program = path};
  }

  // Plays the main loop.
  void RunUntil(Phase phase) {
    for (int round = 0; round < 3000 && scheduler_->phase() != phase; ++round) {
      std::vector<pollfd> fds;
      scheduler_->AddPollFds(&fds);
      poll(fds.data(), fds.size(), 5);
      scheduler_->HandleEvents(fds);
      int status;
      const pid_t pid = waitpid(-1, &status, WNOHANG);
      if (pid > 0) {
        EXPECT_TRUE(scheduler_->OnChildExit(pid, status));
      }
      scheduler_->Sample(MonotonicNs());
    }
    ASSERT_EQ(scheduler_->phase(), phase);
  }
  void Attach(const SchedulerSpec& spec) {
    ASSERT_TRUE(scheduler_->Start(spec).ok());
    RunUntil(Phase::kAttached);
  }
  const SchedulerMeasurement& figures() { return scheduler_->figures(); }
  const SchedulerEnd& End() { return *figures().end; }

  std::string root_, out_, err_;
  std::unique_ptr<Scheduler> scheduler_;
};

TEST_F(SchedulerTest, AttachedFromFirstToLastSample) {
  Attach(Program("echo hello; show simple; stay"));
  scheduler_->BeginRun(MonotonicNs());
  for (int i = 0; i < 3; ++i) scheduler_->Sample(MonotonicNs());
  scheduler_->StopAndWait();

  EXPECT_EQ(figures().ops, "simple");
  EXPECT_EQ(figures().command, "prog");
  EXPECT_EQ(figures().samples, 4u);
  EXPECT_EQ(figures().attached_samples, 4u);
  EXPECT_GE(figures().attached_ns, figures().started_ns);
  EXPECT_FALSE(figures().end.has_value());
  EXPECT_EQ(out_, "hello\nbye\n");
  EXPECT_EQ(scheduler_->phase(), Phase::kNone);
  EXPECT_EQ(figures().spans.back().state, "enabled");
  EXPECT_TRUE(figures().spans.back().in_run);
  EXPECT_EQ(figures().spans.back().samples, 4u);
}

TEST_F(SchedulerTest, KernelWithoutSchedExtIsAMissingFeature) {
  fs::remove_all(root_ + "/sys");

  const absl::Status status = scheduler_->Start(Program("stay"));

  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
  EXPECT_TRUE(absl::StrContains(status.message(), "the kernel lacks sched_ext")) << status;
}

TEST_F(SchedulerTest, SecondSchedulerIsRefused) {
  Attach(Program("show simple; stay"));

  EXPECT_EQ(scheduler_->Start(Program("stay")).code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(SchedulerTest, ProgramThatExitsAtOnceIsALoadFailureWithItsWords) {
  ASSERT_TRUE(scheduler_->Start(Program("echo 'libbpf: no BTF' >&2; exit 3")).ok());
  RunUntil(Phase::kEnded);

  EXPECT_EQ(End().kind, SchedulerEndKind::kExited);
  EXPECT_FALSE(End().attached);
  EXPECT_EQ(End().exit_code, 3);
  EXPECT_EQ(End().last_line, "libbpf: no BTF");
  EXPECT_EQ(err_, "libbpf: no BTF\n");
}

TEST_F(SchedulerTest, ProgramThatCannotBeStartedSaysWhy) {
  ASSERT_TRUE(scheduler_->Start({.path = "/no/such", .program = "/no/such"}).ok());
  RunUntil(Phase::kEnded);

  EXPECT_EQ(End().exit_code, 127);
  EXPECT_EQ(End().error, "/no/such: No such file or directory");
}

TEST_F(SchedulerTest, ProgramThatNeverAttachesIsEndedAtItsLimit) {
  SchedulerSpec spec = Program("echo waiting; stay");
  spec.attach_limit = absl::Milliseconds(200);
  ASSERT_TRUE(scheduler_->Start(spec).ok());
  RunUntil(Phase::kEnded);

  EXPECT_EQ(End().kind, SchedulerEndKind::kNotAttached);
  EXPECT_FALSE(End().attached);
  EXPECT_EQ(End().state, "disabled");
  EXPECT_EQ(out_, "waiting\nbye\n");
}

TEST_F(SchedulerTest, AnotherNameThanTheAskedForIsNotAttached) {
  SchedulerSpec spec = Program("show other; stay");
  spec.ops = "mine";
  spec.attach_limit = absl::Milliseconds(200);
  ASSERT_TRUE(scheduler_->Start(spec).ok());
  RunUntil(Phase::kEnded);

  EXPECT_EQ(End().kind, SchedulerEndKind::kNotAttached);
  EXPECT_EQ(figures().ops, "other");
}

TEST_F(SchedulerTest, KernelThatRefusesItIsSeenWhileItsProgramStays) {
  Make({.attach = absl::Seconds(20), .last_words = absl::Milliseconds(200)});
  ASSERT_TRUE(scheduler_
                  ->Start(Program("log 'BPF scheduler \"c\" disabled (scx_bpf_error)'; "
                                  "log 'c: init from non-central CPU'; stay"))
                  .ok());
  RunUntil(Phase::kEnded);

  EXPECT_EQ(End().kind, SchedulerEndKind::kBpfError);
  EXPECT_FALSE(End().attached);
  EXPECT_EQ(End().message, "init from non-central CPU");
  EXPECT_TRUE(End().running);
}

TEST_F(SchedulerTest, KickedOutWithTheKernelsReasonAndDump) {
  Attach(
      Program("show broken; sleep 0.1; log 'BPF scheduler \"broken\" disabled (runnable task "
              "stall)'; log 'broken: w[9] failed to run for 2.048s'; hide; sleep 0.1; "
              "printf '\\nDEBUG DUMP\\n==========\\n\\nCPU 0: nr_run=1\\n\\n==========\\n\\nEXIT: "
              "runnable task stall (w[9] failed to run for 2.048s)\\n' >&2; exit 0"));
  scheduler_->BeginRun(MonotonicNs());
  RunUntil(Phase::kEnded);

  EXPECT_EQ(End().kind, SchedulerEndKind::kStall);
  EXPECT_TRUE(End().attached);
  EXPECT_EQ(End().reason, "runnable task stall");
  EXPECT_EQ(End().message, "w[9] failed to run for 2.048s");
  EXPECT_EQ(End().debug_dump, "CPU 0: nr_run=1\n");
  EXPECT_EQ(End().exit_code, 0);
}

TEST_F(SchedulerTest, WithoutTheKernelsLogTheProgramsWordCounts) {
  fs::remove(root_ + "/dev/kmsg");
  Attach(
      Program("show broken; sleep 0.1; hide; echo 'EXIT: runtime error (bad CPU 9)' >&2; exit 1"));
  RunUntil(Phase::kEnded);

  EXPECT_EQ(End().kind, SchedulerEndKind::kRuntimeError);
  EXPECT_EQ(End().message, "bad CPU 9");
}

TEST_F(SchedulerTest, ProgramThatLeavesIsNoErrorOfTheKernel) {
  Attach(
      Program("show simple; sleep 0.1; hide; log 'BPF scheduler \"simple\" disabled (unregistered "
              "from user space)'; exit 0"));
  RunUntil(Phase::kEnded);

  EXPECT_TRUE(End().kind == SchedulerEndKind::kExited ||
              End().kind == SchedulerEndKind::kUnregistered);
  EXPECT_EQ(End().reason, "unregistered from user space");
  EXPECT_EQ(End().exit_code, 0);
}

TEST_F(SchedulerTest, KilledProgramIsNamedByItsSignal) {
  Attach(Program("show simple; sleep 0.1; hide; kill -9 $$"));
  RunUntil(Phase::kEnded);

  EXPECT_EQ(End().exit_signal, 9);
}

TEST_F(SchedulerTest, AnotherSchedulerInItsPlaceEndsIt) {
  Attach(Program("show simple; sleep 0.1; show other; stay"));
  RunUntil(Phase::kEnded);

  EXPECT_EQ(End().kind, SchedulerEndKind::kReplaced);
  EXPECT_EQ(End().message, "it shows other");
}

TEST_F(SchedulerTest, RestartAttachesItAnewAndItsSamplesCountApart) {
  Attach(Program("echo start; show simple; stay"));
  scheduler_->BeginRun(MonotonicNs());
  ASSERT_TRUE(scheduler_->Restart().ok());
  RunUntil(Phase::kAttached);
  scheduler_->Sample(MonotonicNs());
  scheduler_->StopAndWait();

  EXPECT_EQ(figures().switches, 1u);
  EXPECT_FALSE(figures().end.has_value());
  EXPECT_GT(figures().switching_samples, 0u);
  EXPECT_EQ(figures().samples, figures().switching_samples + figures().attached_samples);
  EXPECT_EQ(out_, "start\nbye\nstart\nbye\n");
}

// As the loaders of the kernel's tree do when the kernel says that a CPU came or went.
constexpr char kComesBack[] =
    "show simple; echo 1 > $K/enable_seq; until [ -e $K/go ]; do sleep 0.01; done; hide; "
    "sleep 0.1; echo 2 > $K/enable_seq; show simple; stay";

TEST_F(SchedulerTest, RestartByItselfAfterCpuHotplugIsNoEndAndItsSamplesCountApart) {
  Attach(Program(kComesBack));
  scheduler_->BeginRun(MonotonicNs());
  std::ofstream(root_ + "/sys/kernel/sched_ext/go") << "";
  scheduler_->CpusChanged(MonotonicNs());
  RunUntil(Phase::kRestarting);
  RunUntil(Phase::kAttached);
  scheduler_->Sample(MonotonicNs());
  scheduler_->StopAndWait();

  EXPECT_EQ(figures().restarts, 1u);
  EXPECT_EQ(figures().switches, 0u);
  EXPECT_FALSE(figures().end.has_value());
  EXPECT_GT(figures().switching_samples, 0u);
  EXPECT_EQ(figures().samples, figures().switching_samples + figures().attached_samples);
}

TEST_F(SchedulerTest, RestartAfterCpuHotplugBetweenTwoSamplesIsSeenByItsNumber) {
  Attach(Program("show simple; stay"));
  scheduler_->CpusChanged(MonotonicNs());
  std::ofstream(root_ + "/sys/kernel/sched_ext/enable_seq") << "2\n";
  scheduler_->Sample(MonotonicNs());

  EXPECT_EQ(figures().restarts, 1u);
  EXPECT_EQ(scheduler_->phase(), Phase::kAttached);
}

TEST_F(SchedulerTest, ComingBackWithoutACauseIsAnEnd) {
  Make({.attach = absl::Seconds(20), .last_words = absl::Milliseconds(200)});
  Attach(Program("show simple; stay"));
  std::ofstream(root_ + "/dev/kmsg", std::ios::app)
      << "3,1,1,-;sched_ext: BPF scheduler \"simple\" disabled (runnable task stall)\n";
  std::ofstream(root_ + "/sys/kernel/sched_ext/enable_seq") << "2\n";
  RunUntil(Phase::kEnded);

  EXPECT_EQ(End().kind, SchedulerEndKind::kStall);
  EXPECT_EQ(figures().restarts, 0u);
}

TEST_F(SchedulerTest, FaultThatHotplugShowsIsAnEndThoughItComesBack) {
  Make({.attach = absl::Seconds(20), .last_words = absl::Milliseconds(200)});
  Attach(Program("show simple; stay"));
  scheduler_->CpusChanged(MonotonicNs());
  std::ofstream(root_ + "/dev/kmsg", std::ios::app)
      << "3,1,1,-;sched_ext: BPF scheduler \"simple\" disabled (runtime error)\n";
  std::ofstream(root_ + "/sys/kernel/sched_ext/enable_seq") << "2\n";
  RunUntil(Phase::kEnded);

  EXPECT_EQ(End().kind, SchedulerEndKind::kRuntimeError);
}

TEST_F(SchedulerTest, AnotherSchedulerInItsPlaceIsNamedThoughTheKernelCountedIt) {
  Make({.attach = absl::Seconds(20), .last_words = absl::Milliseconds(200)});
  Attach(Program("show simple; echo 1 > $K/enable_seq; until [ -e $K/go ]; do sleep 0.01; done; "
                 "echo 2 > $K/enable_seq; show other; stay"));
  scheduler_->CpusChanged(MonotonicNs());
  std::ofstream(root_ + "/sys/kernel/sched_ext/go") << "";
  RunUntil(Phase::kEnded);

  EXPECT_EQ(End().kind, SchedulerEndKind::kReplaced);
  EXPECT_EQ(End().message, "it shows other");
}

TEST_F(SchedulerTest, ProgramThatGoesWhenACpuGoesHasEnded) {
  Attach(Program("show simple; until [ -e $K/go ]; do sleep 0.01; done; hide; "
                 "echo 'EXIT: unregistered from the main kernel (cpu 2 going offline)' >&2"));
  scheduler_->CpusChanged(MonotonicNs());
  std::ofstream(root_ + "/sys/kernel/sched_ext/go") << "";
  RunUntil(Phase::kEnded);

  EXPECT_EQ(End().message, "cpu 2 going offline");
  EXPECT_FALSE(End().running);
}

TEST_F(SchedulerTest, SwitchAttachesTheOther) {
  Attach(Program("show simple; stay"));
  ASSERT_TRUE(scheduler_->Switch(Program("show other; stay", "prog2")).ok());
  EXPECT_FALSE(scheduler_->Restart().ok()) << "in the middle of a switch";
  RunUntil(Phase::kAttached);

  EXPECT_EQ(figures().ops, "other");
  EXPECT_EQ(figures().command, "prog2");
}

TEST_F(SchedulerTest, StoppedAsAskedForIsNoFailure) {
  Attach(Program("show simple; stay"));
  ASSERT_TRUE(scheduler_->Stop().ok());
  RunUntil(Phase::kNone);

  EXPECT_FALSE(figures().end.has_value());
  EXPECT_EQ(ReadSchedExt(root_).state, "disabled");
}

TEST_F(SchedulerTest, ProgramThatIgnoresItsSignalsIsKilled) {
  Make({.stop = absl::Milliseconds(200)});
  Attach(Program("trap '' INT TERM; show simple; while :; do sleep 0.01; done"));
  const uint64_t before = MonotonicNs();
  // Nobody detaches it here: a plain file is no kernel.
  std::ofstream(root_ + "/sys/kernel/sched_ext/state") << "disabled\n";
  scheduler_->StopAndWait();

  EXPECT_LT(MonotonicNs() - before, 4000000000u);
  EXPECT_EQ(scheduler_->phase(), Phase::kNone);
}

}  // namespace
}  // namespace stasis::agent
