// Every kind, with real processes on this host.
#include "guest/work/kinds/kinds.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "guest/scenario/work_table.h"
#include "guest/work/clock.h"
#include "guest/work/group.h"

namespace stasis::work {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

// Waits for something that another process does; the limit only ends a test that would hang.
bool Eventually(const std::function<bool()>& condition) {
  const uint64_t limit = NowNs() + 20000000000u;
  while (!condition()) {
    if (NowNs() > limit) return false;
    std::this_thread::yield();
  }
  return true;
}

CpuSet OwnCpus() {
  cpu_set_t mask;
  sched_getaffinity(0, sizeof(mask), &mask);
  CpuSet cpus;
  for (uint32_t cpu = 0; cpu < CPU_SETSIZE && cpu < CpuSet::kMaxCpus; ++cpu) {
    if (CPU_ISSET(cpu, &mask)) cpus.Add(cpu);
  }
  return cpus;
}

char StateOf(pid_t pid) {
  FILE* file = fopen(("/proc/" + std::to_string(pid) + "/stat").c_str(), "r");
  char state = '?';
  if (file != nullptr) {
    if (fscanf(file, "%*d (%*[^)]) %c", &state) != 1) state = '?';
    fclose(file);
  }
  return state;
}

// A group of a kind: all its workers are ended and reaped at the latest with the test.
class Group {
 public:
  explicit Group(WorkSpec spec)
      : spec_(std::move(spec)), arena_(*SlotArena::Create(spec_.workers)) {
    // Orphans of workers come to this process instead of init: they can be counted.
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    auto group = WorkGroup::Create(spec_, OwnCpus(), arena_.get(), 0);
    EXPECT_TRUE(group.ok()) << group.status();
    if (!group.ok()) return;
    group_ = *std::move(group);
    for (uint32_t i = 0; i < spec_.workers; ++i) pids_.push_back(*group_->Fork(i));
  }
  ~Group() {
    for (pid_t pid : pids_) kill(pid, SIGKILL);
    while (waitpid(-1, nullptr, 0) > 0 || errno == EINTR) {
    }
  }

  void Go() { arena_->Go(); }
  WorkerSlot& slot(uint32_t i) { return arena_->slot(i); }
  pid_t pid(uint32_t i) const { return pids_[i]; }

  bool AllReach(uint64_t iterations) {
    return Eventually([&] {
      for (uint32_t i = 0; i < spec_.workers; ++i) {
        if (slot(i).iterations.load(kRelaxed) < iterations) return false;
      }
      return true;
    });
  }

  // As the agent would. Returns whether every worker exited with 0. `last`, a worker that was
  // stopped, is let go on only when all others have ended.
  bool Stop(int last = -1) {
    arena_->control().stop.store(true);
    for (pid_t pid : pids_) kill(pid, SIGTERM);
    bool good = true;
    for (int i = 0; i < static_cast<int>(pids_.size()); ++i) {
      if (i != last) good = Ended(pids_[i]) && good;
    }
    if (last >= 0) {
      kill(pids_[last], SIGCONT);
      good = Ended(pids_[last]) && good;
    }
    pids_.clear();
    return good;
  }

 private:
  static bool Ended(pid_t pid) {
    int status = -1;
    EXPECT_TRUE(Eventually([&] { return waitpid(pid, &status, WNOHANG) != 0; })) << "still there";
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
  }

  const WorkSpec spec_;
  std::unique_ptr<SlotArena> arena_;
  std::unique_ptr<WorkGroup> group_;
  std::vector<pid_t> pids_;
};

// Short times, so that a test is short.
WorkSpec Quick(WorkKind kind) {
  WorkSpec spec = DefaultWork(kind);
  for (absl::Duration* time : {&spec.run, &spec.sleep, &spec.hold}) {
    *time = std::min(*time, absl::Microseconds(200));
  }
  spec.period = std::min(spec.period, absl::Milliseconds(1));
  spec.memory_bytes = std::min<uint64_t>(spec.memory_bytes, 65536);
  if (kind == WorkKind::kIoSync) spec.path = testing::TempDir() + "/io_sync";
  if (kind == WorkKind::kCommand) spec.command = {"/bin/true"};
  if (spec.workers > 1) spec.workers = 4;
  // Without the right to real-time policies the rest is tested.
  const sched_param param = {.sched_priority = 1};
  if (sched_setscheduler(0, SCHED_FIFO, &param) != 0) {
    spec.policies = {SchedPolicy::kBatch, SchedPolicy::kNormal};
    if (kind == WorkKind::kNiceSweep) spec.nice_from = 0;
  } else {
    const sched_param none = {};
    sched_setscheduler(0, SCHED_OTHER, &none);
  }
  return spec;
}

class KindTest : public testing::TestWithParam<WorkKind> {};

TEST_P(KindTest, WorksFromGoToStopAndReports) {
  Group group(Quick(GetParam()));
  group.Go();

  EXPECT_TRUE(group.AllReach(20));
  EXPECT_TRUE(group.Stop());
  EXPECT_TRUE(Eventually([] { return waitpid(-1, nullptr, WNOHANG) < 0 && errno == ECHILD; }))
      << "a child was left behind";
  EXPECT_TRUE(group.slot(0).started.load());
  uint64_t cpus = 0;
  for (const auto& word : group.slot(0).cpus_used) cpus |= word.load();
  EXPECT_NE(cpus, 0u);
}

TEST_P(KindTest, DoesNothingBeforeGo) {
  Group group(Quick(GetParam()));

  EXPECT_TRUE(Eventually([&] { return StateOf(group.pid(0)) == 'S'; }));
  EXPECT_EQ(group.slot(0).iterations.load(), 0u);
  EXPECT_FALSE(group.slot(0).started.load());
}

// While worker 0 stands still nothing that a partner would do happens any more: the others are
// blocked on it for good, and end all the same.
TEST_P(KindTest, StopsWhileItsPartnerIsStopped) {
  Group group(Quick(GetParam()));
  group.Go();
  ASSERT_TRUE(group.AllReach(5));
  kill(group.pid(0), SIGSTOP);
  ASSERT_TRUE(Eventually([&] { return StateOf(group.pid(0)) == 'T'; }));

  EXPECT_TRUE(group.Stop(/*last=*/0));
}

TEST_P(KindTest, WakeUpsAreCountedWhereThereAreAny) {
  const WorkKind kind = GetParam();
  Group group(Quick(kind));
  group.Go();
  ASSERT_TRUE(group.AllReach(30));
  const uint64_t wakeups = group.slot(0).wakeup.Read().count();
  const uint64_t responses = group.slot(0).response.Read().count();
  switch (kind) {
    case WorkKind::kFutexFanout:
    case WorkKind::kTimerWake:
    case WorkKind::kRtPeriodic:
    case WorkKind::kSchbench:
      EXPECT_GE(wakeups + 1, 30u);
      break;
    case WorkKind::kCpuSpin:
    case WorkKind::kYield:
    case WorkKind::kCachePressure:
    case WorkKind::kPageFaultChurn:
    case WorkKind::kNiceSweep:
    case WorkKind::kAffinityChurn:
    case WorkKind::kPolicyChurn:
      EXPECT_EQ(wakeups, 0u);
      EXPECT_EQ(responses, 0u);
      break;
    case WorkKind::kIoSync:
    case WorkKind::kForkExit:
    case WorkKind::kPipePing:
      EXPECT_GE(responses + 1, 30u);
      break;
    default:
      break;
  }
}

INSTANTIATE_TEST_SUITE_P(AllKinds, KindTest, testing::ValuesIn([] {
                           std::vector<WorkKind> kinds;
                           for (const WorkKindInfo& info : WorkKinds()) kinds.push_back(info.kind);
                           return kinds;
                         }()),
                         [](const auto& info) { return fields::NameOf(info.param); });

// Partners of a pair are never more than one turn apart.
class PairTest : public testing::TestWithParam<WorkKind> {};

TEST_P(PairTest, PartnersTakeTurns) {
  WorkSpec spec = Quick(GetParam());
  spec.workers = 2;
  Group group(spec);
  group.Go();
  ASSERT_TRUE(group.AllReach(100));
  kill(group.pid(1), SIGSTOP);
  int status;
  waitpid(group.pid(1), &status, WUNTRACED);
  // The other one comes to wait for it.
  ASSERT_TRUE(Eventually([&] { return StateOf(group.pid(0)) == 'S'; }));
  const int64_t lead = static_cast<int64_t>(group.slot(0).iterations.load()) -
                       static_cast<int64_t>(group.slot(1).iterations.load());

  EXPECT_GE(lead, -1);
  EXPECT_LE(lead, 1);
}

INSTANTIATE_TEST_SUITE_P(Pairs, PairTest,
                         testing::Values(WorkKind::kPipePing, WorkKind::kFutexPing,
                                         WorkKind::kWakeChain),
                         [](const auto& info) { return fields::NameOf(info.param); });

TEST(WokenWorkerTest, WorkerThatIsWokenAndCannotRunShowsAGapThatGrows) {
  WorkSpec spec = Quick(WorkKind::kFutexFanout);
  Group group(spec);
  group.Go();
  ASSERT_TRUE(group.AllReach(5));
  kill(group.pid(1), SIGSTOP);
  int status;
  waitpid(group.pid(1), &status, WUNTRACED);

  // Stopped in its wait, and woken by the next round.
  EXPECT_TRUE(Eventually([&] {
    const uint64_t since = group.slot(1).wants_cpu_since_ns.load();
    return since < kWaitsForDevice && NowNs() > since && NowNs() - since > 50000000;
  }));
  kill(group.pid(1), SIGCONT);
  EXPECT_TRUE(Eventually([&] { return group.slot(1).max_gap_ns.load() > 50000000; }));
}

TEST(StoppedWorkerTest, ShowsAGapThatGrows) {
  Group group(DefaultWork(WorkKind::kCpuSpin));
  WorkerSlot& slot = group.slot(0);
  group.Go();
  ASSERT_TRUE(group.AllReach(1));
  kill(group.pid(0), SIGSTOP);
  int status;
  waitpid(group.pid(0), &status, WUNTRACED);
  const uint64_t since = slot.wants_cpu_since_ns.load();
  const uint64_t stopped_at = NowNs();
  ASSERT_TRUE(Eventually([&] { return NowNs() - stopped_at > 20000000; }));
  EXPECT_EQ(slot.wants_cpu_since_ns.load(), since) << "nobody may report for a stopped worker";
  const uint64_t continued_at = NowNs();
  kill(group.pid(0), SIGCONT);
  ASSERT_TRUE(Eventually([&] { return slot.wants_cpu_since_ns.load(kRelaxed) > continued_at; }));

  EXPECT_GE(slot.max_gap_ns.load(), continued_at - since);
}

TEST(CommandTest, FailureOfTheProgramIsTheWorkers) {
  WorkSpec spec = DefaultWork(WorkKind::kCommand);
  spec.command = {"/bin/sh", "-c", "exit 7"};
  Group group(spec);
  group.Go();
  int status = 0;
  ASSERT_TRUE(Eventually([&] { return waitpid(group.pid(0), &status, WNOHANG) != 0; }));

  EXPECT_EQ(WEXITSTATUS(status), 7);
}

TEST(WorkGroupTest, WhatIsMissingIsSaid) {
  auto arena = *SlotArena::Create(1);
  WorkSpec command = DefaultWork(WorkKind::kCommand);
  command.command = {"/nowhere/program"};
  WorkSpec io = DefaultWork(WorkKind::kIoSync);
  io.path = "/dev/no-such-disk";

  EXPECT_EQ(WorkGroup::Create(command, {}, arena.get(), 0).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(WorkGroup::Create(io, {}, arena.get(), 0).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace stasis::work
