#include "guest/agent/runner.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "guest/agent/system.h"
#include "guest/scenario/work_table.h"
#include "guest/work/policy.h"

namespace stasis::agent {
namespace {

constexpr uint64_t kSamplePeriodNs = 100000000;
constexpr uint64_t kProgressEverySamples = 10;
constexpr auto kRelaxed = std::memory_order_relaxed;

// The worker waits for the start signal meanwhile: whatever is set here holds from its first
// iteration on.
absl::Status Configure(pid_t pid, const WorkSpec& spec, const CpuSet& allowed) {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  for (uint32_t cpu : allowed.Cpus()) CPU_SET(cpu, &mask);
  if (!spec.cpus.empty() && sched_setaffinity(pid, sizeof(mask), &mask) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("affinity ", allowed.ToString()));
  }
  if (spec.nice != 0 && setpriority(PRIO_PROCESS, static_cast<id_t>(pid), spec.nice) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("nice ", spec.nice));
  }
  if (spec.policy != SchedPolicy::kNormal) {
    const sched_param param = {.sched_priority = spec.rt_priority};
    if (sched_setscheduler(pid, work::KernelPolicy(spec.policy), &param) != 0) {
      return absl::ErrnoToStatus(errno,
                                 absl::StrCat("scheduling policy ", fields::NameOf(spec.policy)));
    }
  }
  return absl::OkStatus();
}

// "run_ns wait_ns slices" of /proc/PID/schedstat.
void ReadSchedstat(pid_t pid, WorkerMeasurement* figures) {
  auto text = ReadText(absl::StrCat("/proc/", pid, "/schedstat"));
  if (!text.ok()) return;
  const std::vector<absl::string_view> words = absl::StrSplit(*text, ' ');
  uint64_t run_ns, delay_ns;
  if (words.size() < 2 || !absl::SimpleAtoi(words[0], &run_ns) ||
      !absl::SimpleAtoi(words[1], &delay_ns)) {
    return;
  }
  // Zero before the first switch, and on kernels that print it without counting.
  if (run_ns != 0) figures->run_ns = std::max(figures->run_ns, run_ns);
  figures->run_delay_ns = delay_ns;
}

void ReadSlot(const work::WorkerSlot& slot, uint64_t now, bool alive, WorkerMeasurement* figures) {
  figures->started = slot.started.load(kRelaxed);
  figures->iterations = slot.iterations.load(kRelaxed);
  figures->run_ns = std::max(figures->run_ns, slot.run_ns.load(kRelaxed));
  figures->migrations = slot.migrations.load(kRelaxed);
  figures->max_gap_ns = slot.max_gap_ns.load(kRelaxed);
  figures->gap_at_ns = slot.gap_at_ns.load(kRelaxed);
  figures->gap_cpu = slot.gap_cpu.load(kRelaxed);
  figures->wakeup = slot.wakeup.Read();
  figures->response = slot.response.Read();
  figures->last_seen_ns = slot.wants_cpu_since_ns.load(kRelaxed);
  const bool waits = figures->last_seen_ns >= work::kWaitsForDevice;
  if (waits) figures->last_seen_ns = slot.waits_since_ns.load(kRelaxed);
  figures->gap_unfinished = false;
  // A gap that is not over is the worst kind of starvation: nobody is there to report it.
  if (alive && !waits && now > figures->last_seen_ns &&
      now - figures->last_seen_ns > figures->max_gap_ns) {
    figures->max_gap_ns = now - figures->last_seen_ns;
    figures->gap_at_ns = figures->last_seen_ns;
    figures->gap_cpu = slot.cpu.load(kRelaxed);
    figures->gap_unfinished = true;
  }
  for (uint32_t cpu = 0; cpu < CpuSet::kMaxCpus; ++cpu) {
    if (slot.cpus_used[cpu / 64].load(kRelaxed) >> (cpu % 64) & 1) figures->cpus_used.Add(cpu);
  }
}

}  // namespace

Runner::Runner(Send send, std::string cgroup_root, std::string system_root)
    : send_(std::move(send)),
      cgroup_root_(std::move(cgroup_root)),
      timer_fd_(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)),
      scheduler_(send_, std::move(system_root)) {}

Runner::~Runner() {
  if (run_ != nullptr) TearDown();
  if (timer_fd_ >= 0) close(timer_fd_);
}

void Runner::Start(const Scenario& scenario, const CpuGroups& cpus) {
  if (run_ != nullptr) {
    send_(wire::Error{.layer = "agent", .text = "a scenario is already running"});
    return;
  }
  run_ = std::make_unique<Run>();
  run_->scenario = scenario;
  run_->cpus = cpus;
  if (!scenario.scheduler.has_value()) return SetUpAndBegin();
  absl::Status status = scheduler_.Start(*scenario.scheduler);
  if (!status.ok()) return GiveUp("scheduler load", status);
  send_(wire::Progress{.what = absl::StrCat("attaching ", CommandOf(*scenario.scheduler))});
  StartTimer();  // it goes on in FollowScheduler
}

void Runner::SetUpAndBegin() {
  absl::Status status = SetUp(run_->cpus);
  if (!status.ok()) return GiveUp("workload", status);
  Begin();
}

void Runner::GiveUp(const char* layer, const absl::Status& status) {
  const bool missing = status.code() == absl::StatusCode::kUnimplemented ||
                       status.code() == absl::StatusCode::kFailedPrecondition;
  send_(wire::Error{.layer = layer,
                    .kind = missing ? wire::ErrorKind::kMissingFeature : wire::ErrorKind::kFailed,
                    .text = std::string(status.message())});
  TearDown();
}

absl::Status Runner::SetUp(const CpuGroups& cpus) {
  const Scenario& scenario = run_->scenario;
  const uint32_t count = WorkerCount(scenario);
  if (count == 0 || count > kMaxWorkers) {
    return absl::InvalidArgumentError(
        absl::StrCat(count, " workers; a scenario has 1 to ", kMaxWorkers));
  }
  if (scenario.duration <= absl::ZeroDuration() || scenario.duration > absl::Hours(24)) {
    return absl::InvalidArgumentError("duration must be positive and at most 24 hours");
  }
  if (cpus.online.size() < scenario.machine.min_cpus) {
    return absl::FailedPreconditionError(
        absl::StrCat("the scenario needs ", scenario.machine.min_cpus, " CPUs, this machine has ",
                     cpus.online.size()));
  }
  auto arena = work::SlotArena::Create(count);
  if (!arena.ok()) return arena.status();
  run_->arena = *std::move(arena);
  run_->workers.reserve(count);
  run_->cgroups = std::make_unique<Cgroups>(cgroup_root_);
  send_(wire::Progress{.what = "cgroups"});
  absl::Status status = run_->cgroups->Prepare(scenario);
  if (!status.ok()) return status;
  for (const CgroupSpec& cgroup : scenario.cgroups) {
    status = SetUpCgroup(cgroup, cpus);
    if (!status.ok()) {
      return absl::Status(status.code(),
                          absl::StrCat("cgroup '", cgroup.name, "': ", status.message()));
    }
  }
  return absl::OkStatus();
}

absl::Status Runner::SetUpCgroup(const CgroupSpec& spec, const CpuGroups& cpus) {
  auto cgroup_cpus = ResolveCpus(spec.cpus, cpus);
  if (!cgroup_cpus.ok()) return cgroup_cpus.status();
  absl::Status status = run_->cgroups->Create(spec, *cgroup_cpus);
  if (!status.ok()) return status;
  for (uint32_t work = 0; work < spec.work.size(); ++work) {
    CpuSet allowed = *cgroup_cpus;
    if (!spec.work[work].cpus.empty()) {
      auto affinity = ResolveCpus(spec.work[work].cpus, cpus);
      if (!affinity.ok()) return affinity.status();
      allowed = allowed & *affinity;
      if (allowed.empty()) {
        return absl::FailedPreconditionError(absl::StrCat("work on CPUs ", affinity->ToString(),
                                                          ", but the cgroup has ",
                                                          cgroup_cpus->ToString()));
      }
    }
    auto group =
        work::WorkGroup::Create(spec.work[work], allowed, run_->arena.get(), run_->workers.size());
    if (!group.ok()) return group.status();
    run_->groups.push_back(*std::move(group));
    for (uint32_t i = 0; i < spec.work[work].workers; ++i) {
      status = StartWorker(spec, work, i, allowed);
      if (!status.ok()) return status;
    }
  }
  return absl::OkStatus();
}

absl::Status Runner::StartWorker(const CgroupSpec& cgroup, uint32_t work, uint32_t member,
                                 const CpuSet& allowed) {
  const WorkSpec& spec = cgroup.work[work];
  const uint32_t index = static_cast<uint32_t>(run_->workers.size());
  auto pid = run_->groups.back()->Fork(member);
  if (!pid.ok()) return pid.status();
  Worker& worker = run_->workers.emplace_back();
  worker.spec = &spec;
  worker.pid = *pid;
  worker.figures.index = index;
  worker.figures.cgroup = cgroup.name;
  worker.figures.work = work;
  worker.figures.kind = fields::NameOf(spec.kind);
  if (member == 0) worker.figures.role = InfoOf(spec.kind).group.leader;
  worker.figures.pid = *pid;
  worker.figures.cpus_allowed = allowed;
  // The cgroup comes first: moving into a cpuset sets the affinity anew.
  absl::Status status = run_->cgroups->AddProcess(cgroup.name, *pid);
  if (!status.ok()) return status;
  return Configure(*pid, spec, allowed);
}

void Runner::Begin() {
  send_(wire::Progress{.what = "workers"});
  run_->arena->Go();
  run_->start_ns = MonotonicNs();
  run_->end_ns =
      run_->start_ns + static_cast<uint64_t>(absl::ToInt64Nanoseconds(run_->scenario.duration));
  if (run_->scenario.scheduler.has_value()) scheduler_.BeginRun(run_->start_ns);
  StartTimer();
}

void Runner::StartTimer() {
  const itimerspec period = {.it_interval = {.tv_sec = 0, .tv_nsec = kSamplePeriodNs},
                             .it_value = {.tv_sec = 0, .tv_nsec = kSamplePeriodNs}};
  timerfd_settime(timer_fd_, 0, &period, nullptr);
}

void Runner::OnTimer() {
  uint64_t expirations;
  if (read(timer_fd_, &expirations, sizeof(expirations)) < 0 || run_ == nullptr) return;
  const uint64_t now = MonotonicNs();
  if (run_->scenario.scheduler.has_value()) {
    scheduler_.Sample(now);
    if (!FollowScheduler(now)) return;
  }
  Sample(now);
  SendSamples(now);
  const uint64_t elapsed = now - run_->start_ns;
  if (elapsed / kSamplePeriodNs % kProgressEverySamples == 0) {
    send_(wire::Progress{
        .what = "running", .elapsed_ns = elapsed, .total_ns = run_->end_ns - run_->start_ns});
  }
  const bool anyone_left = std::any_of(run_->workers.begin(), run_->workers.end(),
                                       [](const Worker& worker) { return worker.pid > 0; });
  if (now >= run_->end_ns || !anyone_left) Finish(now);
}

// Workers are started when the scheduler is attached, and ended at once when it ended by itself.
// True while there are some to be measured.
bool Runner::FollowScheduler(uint64_t now) {
  switch (scheduler_.phase()) {
    case Scheduler::Phase::kAttached:
      if (run_->start_ns != 0) return true;
      SetUpAndBegin();
      return false;
    case Scheduler::Phase::kEnding:
    case Scheduler::Phase::kEnded:
      if (run_->cut_ns == 0) {
        run_->cut_ns = now;
        Sample(now);
        KillWorkers();
      }
      if (scheduler_.phase() == Scheduler::Phase::kEnded) Finish(run_->cut_ns);
      return false;
    case Scheduler::Phase::kNone:
    case Scheduler::Phase::kAttaching:
    case Scheduler::Phase::kStopping:
      return run_->start_ns != 0;  // a switch goes on under load
  }
  return true;
}

void Runner::Sample(uint64_t now) {
  for (Worker& worker : run_->workers) {
    ReadSlot(run_->arena->slot(worker.figures.index), now, worker.pid > 0, &worker.figures);
    if (worker.pid > 0) ReadSchedstat(worker.pid, &worker.figures);
  }
}

void Runner::SendSamples(uint64_t now) {
  wire::WorkerSamples samples{.time_ns = now, .samples = {}};
  if (run_->scenario.scheduler.has_value()) {
    samples.scheduler = absl::StrCat(scheduler_.seen().state, " ", scheduler_.seen().ops);
  }
  for (const Worker& worker : run_->workers) {
    const WorkerMeasurement& figures = worker.figures;
    const work::WorkerSlot& slot = run_->arena->slot(figures.index);
    const uint64_t since = slot.wants_cpu_since_ns.load(kRelaxed);  // "never": waits for others
    const bool waiting = worker.pid > 0 && now > since;
    samples.samples.push_back({.index = figures.index,
                               .iterations = figures.iterations,
                               .run_ns = figures.run_ns,
                               .max_gap_ns = figures.max_gap_ns,
                               .current_gap_ns = waiting ? now - since : 0,
                               .cpu = slot.cpu.load(kRelaxed)});
  }
  send_(samples);
}

void Runner::Finish(uint64_t now) {
  wire::Result result;
  result.measurements.start_ns = run_->start_ns;
  result.measurements.end_ns = run_->start_ns == 0 ? 0 : now;
  for (const Worker& worker : run_->workers) {
    result.measurements.workers.push_back(worker.figures);
  }
  if (run_->scenario.scheduler.has_value()) result.measurements.scheduler = scheduler_.figures();
  // First stop, then report: sending needs CPU time that a starving guest would rather give away.
  TearDown();
  send_(result);
}

bool Runner::OnChildExit(pid_t pid, int wait_status) {
  if (scheduler_.OnChildExit(pid, wait_status)) {
    if (run_ != nullptr) FollowScheduler(MonotonicNs());
    return true;
  }
  if (run_ == nullptr) return false;
  for (Worker& worker : run_->workers) {
    if (worker.pid != pid) continue;
    const uint64_t now = MonotonicNs();
    ReadSlot(run_->arena->slot(worker.figures.index), now, true, &worker.figures);
    worker.pid = -1;
    worker.figures.ended_early = true;
    if (WIFSIGNALED(wait_status)) {
      worker.figures.exit_signal = WTERMSIG(wait_status);
    } else {
      worker.figures.exit_code = WEXITSTATUS(wait_status);
    }
    return true;
  }
  return false;
}

void Runner::KillWorkers() {
  for (Worker& worker : run_->workers) {
    if (worker.pid > 0) kill(worker.pid, SIGKILL);
  }
  // Waited for, so that their cgroup can be removed. A killed process that is not let run cannot
  // die: that must not hang the agent, the main loop reaps it later.
  const uint64_t give_up_ns = MonotonicNs() + 1000000000;
  for (Worker& worker : run_->workers) {
    while (worker.pid > 0) {
      const pid_t reaped = waitpid(worker.pid, nullptr, WNOHANG);
      if (reaped != 0 && !(reaped < 0 && errno == EINTR)) break;
      if (MonotonicNs() > give_up_ns) return;
      usleep(500);
    }
    worker.pid = -1;
  }
}

void Runner::TearDown() {
  const itimerspec off = {};
  timerfd_settime(timer_fd_, 0, &off, nullptr);
  scheduler_.StopAndWait();  // a killed worker that it does not let run could not die
  KillWorkers();
  run_.reset();
}

}  // namespace stasis::agent
