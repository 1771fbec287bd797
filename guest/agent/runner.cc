#include "guest/agent/runner.h"

#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "guest/agent/calibration.h"
#include "guest/agent/dump_request.h"
#include "guest/agent/system.h"

namespace stasis::agent {
namespace {

constexpr uint64_t kSamplePeriodNs = 100000000;
constexpr uint64_t kProgressEverySamples = 10;

uint64_t Ns(absl::Duration duration) {
  return static_cast<uint64_t>(absl::ToInt64Nanoseconds(duration));
}

}  // namespace

std::optional<std::map<std::string, uint64_t>> ReadScxEvents(const std::string& system_root) {
  auto text = ReadText(system_root + "/sys/kernel/sched_ext/root/events");
  if (!text.ok()) return std::nullopt;
  std::map<std::string, uint64_t> events;
  for (absl::string_view line : absl::StrSplit(*text, '\n')) {
    const std::vector<absl::string_view> words = absl::StrSplit(line, ' ', absl::SkipEmpty());
    uint64_t count;
    if (words.size() == 2 && absl::SimpleAtoi(words[1], &count)) {
      events[std::string(words[0])] = count;
    }
  }
  return events;
}

Runner::Runner(Send send, std::string cgroup_root, std::string system_root)
    : send_(std::move(send)),
      cgroup_root_(std::move(cgroup_root)),
      system_root_(std::move(system_root)),
      timer_fd_(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)),
      scheduler_(send_, system_root_) {}

Runner::~Runner() {
  if (run_ != nullptr) TearDown();
  if (timer_fd_ >= 0) close(timer_fd_);
}

void Runner::Start(const Scenario& scenario, const CpuGroups& cpus) {
  if (run_ != nullptr && run_->reported) TearDown();
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
  run_->next_sample_ns = MonotonicNs() + kSamplePeriodNs;
  Arm();  // it goes on in FollowScheduler
}

void Runner::SetUpAndBegin() {
  absl::Status status = SetUp();
  if (!status.ok()) return GiveUp("workload", status);
  Begin();
}

void Runner::GiveUp(const char* layer, const absl::Status& status) {
  wire::Error error{.layer = layer, .text = std::string(status.message())};
  if (status.code() == absl::StatusCode::kUnimplemented ||
      status.code() == absl::StatusCode::kFailedPrecondition) {
    error.kind = wire::ErrorKind::kMissingFeature;
  } else if (status.code() == absl::StatusCode::kDeadlineExceeded) {
    error.kind = wire::ErrorKind::kTooLate;
    error.layer = "scheduler";
  }
  // First stop, then report: sending needs CPU time that a starving guest would rather give away.
  TearDown();
  send_(error);
}

absl::Status Runner::SetUp() {
  const Scenario& scenario = run_->scenario;
  if (scenario.duration <= absl::ZeroDuration() || scenario.duration > absl::Hours(24)) {
    return absl::InvalidArgumentError("duration must be positive and at most 24 hours");
  }
  if (run_->cpus.online.size() < scenario.machine.min_cpus) {
    return absl::FailedPreconditionError(
        absl::StrCat("the scenario needs ", scenario.machine.min_cpus, " CPUs, this machine has ",
                     run_->cpus.online.size()));
  }
  run_->cgroups = std::make_unique<Cgroups>(cgroup_root_);
  auto workers = Workers::Create(scenario, run_->cgroups.get());
  if (!workers.ok()) return workers.status();
  run_->workers = *std::move(workers);
  send_(wire::Progress{.what = "cgroups"});
  absl::Status status = run_->cgroups->Prepare(scenario);
  if (!status.ok()) return status;
  run_->observer = std::make_unique<Observer>(scenario);
  run_->steps = std::make_unique<Steps>(Steps::Context{
      .scenario = &scenario,
      .cpus = &run_->cpus,
      .cgroups = run_->cgroups.get(),
      .workers = run_->workers.get(),
      .cpu_root = system_root_ + "/sys/devices/system/cpu",
      .request_dump = RequestDump,
      .change_scheduler = [this](const Action& action) { return ChangeScheduler(action); },
      .cpus_changed = [this] { scheduler_.CpusChanged(MonotonicNs()); }});
  run_->calibration_ns = Calibrate();
  return run_->steps->SetUp();
}

void Runner::Begin() {
  send_(wire::Progress{.what = "workers"});
  if (!run_->scenario.expect.scx_events.empty()) run_->scx_events = ReadScxEvents(system_root_);
  run_->start_ns = MonotonicNs();
  run_->workers->Go(run_->start_ns);
  run_->workers->BeginPhase(0, run_->start_ns);
  run_->observer->Begin(run_->start_ns);
  run_->end_ns = run_->start_ns + Ns(run_->scenario.duration);
  if (run_->scenario.scheduler.has_value()) scheduler_.BeginRun(run_->start_ns);
  run_->next_sample_ns = run_->start_ns + kSamplePeriodNs;
  Arm();
}

void Runner::Arm() {
  uint64_t due = run_->next_sample_ns;
  if (run_->start_ns != 0 && run_->cut_ns == 0) {
    due = std::min(due, run_->end_ns);
    if (const std::optional<uint64_t> step = run_->steps->NextNs(); step.has_value()) {
      due = std::min(due, run_->start_ns + *step);
    }
    if (run_->settled_ns != 0) due = std::min(due, run_->settled_ns);
  }
  const itimerspec once = {
      .it_interval = {},
      .it_value = {.tv_sec = static_cast<time_t>(due / 1000000000u),
                   .tv_nsec = static_cast<long>(std::max<uint64_t>(due % 1000000000u, 1))}};
  timerfd_settime(timer_fd_, TFD_TIMER_ABSTIME, &once, nullptr);
}

void Runner::OnTimer() {
  uint64_t expirations;
  if (read(timer_fd_, &expirations, sizeof(expirations)) < 0 || run_ == nullptr) return;
  if (run_->reported) return TearDown();
  uint64_t now = MonotonicNs();
  if (run_->scenario.scheduler.has_value() && now >= run_->next_sample_ns) {
    scheduler_.Sample(now);
    if (!FollowScheduler(now)) {
      if (run_ == nullptr) return;
      run_->next_sample_ns = std::max(run_->next_sample_ns, now + kSamplePeriodNs);
      return Arm();
    }
  }
  RunSteps(now);
  if (!run_->steps->status().ok()) return GiveUp("workload", run_->steps->status());
  now = MonotonicNs();
  if (now >= run_->next_sample_ns || now >= run_->end_ns) {
    Sample(now);
    const uint64_t elapsed = now - run_->start_ns;
    if (elapsed / kSamplePeriodNs % kProgressEverySamples == 0) {
      send_(wire::Progress{
          .what = "running", .elapsed_ns = elapsed, .total_ns = run_->end_ns - run_->start_ns});
    }
    run_->next_sample_ns += kSamplePeriodNs;
    if (run_->next_sample_ns <= now) run_->next_sample_ns = now + kSamplePeriodNs;
    // Steps may yet start somebody.
    const bool over = !run_->workers->anyone_left() && !run_->steps->NextNs().has_value();
    if (now >= run_->end_ns || over) return Finish(now);
  }
  Arm();
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
        if (run_->start_ns != 0) {
          Sample(now);
          run_->workers->EndPhase(now);
          run_->workers->KillAll();
        }
      }
      if (scheduler_.phase() == Scheduler::Phase::kEnded) Finish(run_->cut_ns);
      return false;
    case Scheduler::Phase::kNone:
    case Scheduler::Phase::kAttaching:
    case Scheduler::Phase::kStopping:
    case Scheduler::Phase::kRestarting:
      return run_->start_ns != 0;  // a switch goes on under load
  }
  return true;
}

absl::Status Runner::ChangeScheduler(const Action& action) {
  if (!run_->scenario.scheduler.has_value()) {
    return absl::FailedPreconditionError("the scenario runs under the kernel's own scheduler");
  }
  if (action.kind == ActionKind::kRestartScheduler) return scheduler_.Restart();
  if (!action.scheduler.has_value()) return absl::InvalidArgumentError("no scheduler is named");
  return scheduler_.Switch(*action.scheduler);
}

void Runner::RunSteps(uint64_t now) {
  if (run_->settled_ns != 0 && now >= run_->settled_ns) {
    run_->settled_ns = 0;
    run_->workers->Sample(now);
    run_->workers->BeginPhase(static_cast<uint32_t>(run_->steps->done().size()), now);
  }
  std::optional<uint64_t> next;
  while (run_->steps->status().ok() && (next = run_->steps->NextNs()).has_value() &&
         MonotonicNs() >= run_->start_ns + *next) {
    now = MonotonicNs();
    Sample(now);
    run_->workers->EndPhase(now);
    send_(wire::StepDone{run_->steps->RunNext(run_->start_ns)});
    run_->settled_ns = MonotonicNs() + Ns(kStepTransition);
  }
}

void Runner::Sample(uint64_t now) {
  run_->workers->Sample(now);
  run_->observer->Look(*run_->workers, now);
  wire::WorkerSamples samples = run_->workers->Samples(now);
  if (run_->scenario.scheduler.has_value()) {
    samples.scheduler = absl::StrCat(scheduler_.seen().state, " ", scheduler_.seen().ops);
  }
  send_(samples);
}

void Runner::Finish(uint64_t now) {
  wire::Result result;
  Measurements& measurements = result.measurements;
  measurements.start_ns = run_->start_ns;
  measurements.calibration_ns = run_->calibration_ns;
  if (run_->start_ns != 0) {
    run_->workers->EndPhase(now);
    measurements.end_ns = now;
    measurements.workers = run_->workers->Figures();
    measurements.phases = run_->workers->phases();
    measurements.steps = run_->steps->done();
    run_->observer->Fill(&measurements);
  }
  if (run_->scenario.scheduler.has_value()) measurements.scheduler = scheduler_.figures();
  if (run_->scx_events.has_value()) {
    measurements.scx_events = ReadScxEvents(system_root_);
    if (measurements.scx_events.has_value()) {
      // A scheduler that was attached anew counts from 0 again.
      for (auto& [name, count] : *measurements.scx_events) {
        count -= std::min(count, (*run_->scx_events)[name]);
      }
    }
  }
  const bool alive = run_->start_ns != 0 && run_->cut_ns == 0;
  if (!alive) TearDown();
  send_(result);
  if (!alive) return;
  // The host judges now, and may freeze the machine: who waits for whom must still be there to see.
  run_->reported = true;
  constexpr itimerspec kLinger = {.it_interval = {}, .it_value = {.tv_sec = 1, .tv_nsec = 0}};
  timerfd_settime(timer_fd_, 0, &kLinger, nullptr);
}

void Runner::Stop() {
  if (run_ != nullptr) TearDown();
}

bool Runner::OnChildExit(pid_t pid, int wait_status) {
  if (scheduler_.OnChildExit(pid, wait_status)) {
    if (run_ != nullptr && !run_->reported) FollowScheduler(MonotonicNs());
    return true;
  }
  if (run_ == nullptr || run_->workers == nullptr) return false;
  if (run_->steps != nullptr && run_->steps->OnChildExit(pid, wait_status)) {
    if (!run_->steps->status().ok() && !run_->reported) GiveUp("workload", run_->steps->status());
    return true;
  }
  return run_->workers->OnChildExit(pid, wait_status);
}

void Runner::TearDown() {
  const itimerspec off = {};
  timerfd_settime(timer_fd_, 0, &off, nullptr);
  scheduler_.StopAndWait();  // a killed worker that it does not let run could not die
  // Programs of steps and workers end before their cgroups go.
  run_->steps.reset();
  run_->workers.reset();
  run_.reset();
}

}  // namespace stasis::agent
