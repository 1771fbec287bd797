#include "guest/agent/workers.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
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

constexpr auto kRelaxed = std::memory_order_relaxed;

absl::Status SetAffinity(pid_t pid, const CpuSet& cpus) {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  for (uint32_t cpu : cpus.Cpus()) CPU_SET(cpu, &mask);
  if (sched_setaffinity(pid, sizeof(mask), &mask) == 0) return absl::OkStatus();
  return absl::ErrnoToStatus(errno, absl::StrCat("affinity ", cpus.ToString()));
}

// The worker waits for the start signal meanwhile: whatever is set here holds from its first
// iteration on.
absl::Status Configure(pid_t pid, const WorkSpec& spec, const CpuSet& allowed) {
  if (!spec.cpus.empty()) {
    absl::Status status = SetAffinity(pid, allowed);
    if (!status.ok()) return status;
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

CpuSet CpusUsed(const work::WorkerSlot& slot) {
  CpuSet cpus;
  for (uint32_t cpu = 0; cpu < CpuSet::kMaxCpus; ++cpu) {
    if (slot.cpus_used[cpu / 64].load(kRelaxed) >> (cpu % 64) & 1) cpus.Add(cpu);
  }
  return cpus;
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
  figures->cpus_used = figures->cpus_used | CpusUsed(slot);
}

// A gap that a freeze interrupts is as long as it was then, if that is the longest so far.
void KeepGap(const WorkerMeasurement& figures, work::WorkerSlot* slot) {
  if (figures.max_gap_ns <= slot->max_gap_ns.load(kRelaxed)) return;
  slot->gap_at_ns.store(figures.gap_at_ns, kRelaxed);
  slot->gap_cpu.store(figures.gap_cpu, kRelaxed);
  slot->max_gap_ns.store(figures.max_gap_ns, kRelaxed);
}

// It wants the CPU since `now` at the earliest; who sleeps or waits for somebody goes on doing so.
void RestartGap(uint64_t now, work::WorkerSlot* slot) {
  uint64_t since = slot->wants_cpu_since_ns.load(kRelaxed);
  while (since < now && !slot->wants_cpu_since_ns.compare_exchange_weak(since, now)) {
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<Workers>> Workers::Create(const Scenario& scenario,
                                                         Cgroups* cgroups) {
  const uint32_t count = WorkerCount(scenario);
  if (count == 0 || count > kMaxWorkers) {
    return absl::InvalidArgumentError(
        absl::StrCat(count, " workers; a scenario has 1 to ", kMaxWorkers));
  }
  std::unique_ptr<Workers> workers(new Workers(scenario, cgroups));
  auto arena = work::SlotArena::Create(count);
  if (!arena.ok()) return arena.status();
  workers->arena_ = *std::move(arena);
  workers->workers_.reserve(count);
  return workers;
}

const WorkSpec& Workers::SpecOf(const Worker& worker) const {
  const Group& group = groups_[worker.group];
  return scenario_.cgroups[group.cgroup].work[group.work];
}

absl::Span<Workers::Worker> Workers::Of(size_t cgroup, size_t work) {
  for (Group& group : groups_) {
    if (!group.live || group.cgroup != cgroup || group.work != work) continue;
    const size_t count = scenario_.cgroups[cgroup].work[work].workers;
    return absl::MakeSpan(workers_).subspan(group.first, count);
  }
  return {};
}

absl::Status Workers::Fork(size_t cgroup, size_t work, const std::string& place,
                           const CpuSet& allowed) {
  const WorkSpec& spec = scenario_.cgroups[cgroup].work[work];
  if (workers_.size() + spec.workers > arena_->size()) {
    return absl::InternalError("more workers than the scenario has");
  }
  auto group = work::WorkGroup::Create(spec, allowed, arena_.get(), workers_.size());
  if (!group.ok()) return group.status();
  groups_.push_back({cgroup, work, *std::move(group), workers_.size()});
  for (uint32_t i = 0; i < spec.workers; ++i) {
    absl::Status status = StartWorker(&groups_.back(), i, place, allowed);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status Workers::StartWorker(Group* group, uint32_t member, const std::string& place,
                                  const CpuSet& allowed) {
  const CgroupSpec& cgroup = scenario_.cgroups[group->cgroup];
  const WorkSpec& spec = cgroup.work[group->work];
  const uint32_t index = static_cast<uint32_t>(workers_.size());
  auto pid = group->group->Fork(member);
  if (!pid.ok()) return pid.status();
  Worker& worker = workers_.emplace_back();
  worker.group = groups_.size() - 1;
  worker.pid = *pid;
  worker.allowed = allowed;
  worker.figures.index = index;
  worker.figures.cgroup = cgroup.name;
  worker.figures.work = static_cast<uint32_t>(group->work);
  worker.figures.kind = fields::NameOf(spec.kind);
  if (member == 0) worker.figures.role = InfoOf(spec.kind).group.leader;
  worker.figures.pid = *pid;
  worker.figures.cpus_allowed = allowed;
  // The cgroup comes first: moving into a cpuset sets the affinity anew.
  absl::Status status = cgroups_.AddProcess(place, *pid);
  if (!status.ok()) return status;
  return Configure(*pid, spec, allowed);
}

void Workers::Go(uint64_t now) {
  for (size_t i = let_go_; i < workers_.size(); ++i) workers_[i].figures.start_ns = now;
  arena_->Go(let_go_);
  let_go_ = workers_.size();
}

absl::Status Workers::Stop(size_t cgroup, size_t work, uint64_t now) {
  absl::Span<Worker> workers = Of(cgroup, work);
  for (Worker& worker : workers) {
    if (worker.pid <= 0) continue;
    ReadSlot(arena_->slot(worker.figures.index), now, !worker.frozen, &worker.figures);
    ReadSchedstat(worker.pid, &worker.figures);
    if (worker.frozen) worker.figures.frozen_ns += now - worker.frozen_since_ns;
    worker.frozen = false;
    worker.figures.stop_ns = now;
    kill(worker.pid, SIGKILL);
  }
  for (Group& group : groups_) {
    if (group.cgroup == cgroup && group.work == work) group.live = false;
  }
  if (Reap(workers, MonotonicNs() + Cgroups::kPatienceNs)) return absl::OkStatus();
  return absl::DeadlineExceededError(
      absl::StrCat("a worker of cgroup '", scenario_.cgroups[cgroup].name,
                   "' that was killed did not get to its end within ",
                   Cgroups::kPatienceNs / 1000000000, " s"));
}

absl::Status Workers::Move(size_t cgroup, size_t work, const std::string& place) {
  for (Worker& worker : Of(cgroup, work)) {
    if (worker.pid <= 0) continue;
    absl::Status status = cgroups_.AddProcess(place, worker.pid);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status Workers::SetAllowed(size_t cgroup, size_t work, const CpuSet& allowed) {
  for (Worker& worker : Of(cgroup, work)) {
    if (worker.pid <= 0 || worker.allowed == allowed) continue;
    worker.allowed = allowed;
    worker.figures.cpus_allowed = worker.figures.cpus_allowed | allowed;
    if (SpecOf(worker).cpus.empty()) continue;
    // Kernels before 6.2 forget an affinity when a cpuset changes.
    absl::Status status = SetAffinity(worker.pid, allowed);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

void Workers::SetFrozen(size_t cgroup, size_t work, bool frozen, uint64_t now) {
  for (Worker& worker : Of(cgroup, work)) {
    if (worker.pid <= 0 || worker.frozen == frozen) continue;
    work::WorkerSlot* slot = &arena_->slot(worker.figures.index);
    if (frozen) {
      ReadSlot(*slot, now, true, &worker.figures);
      KeepGap(worker.figures, slot);
      worker.frozen_since_ns = now;
    } else {
      RestartGap(now, slot);
      worker.figures.frozen_ns += now - worker.frozen_since_ns;
    }
    worker.frozen = frozen;
  }
}

void Workers::Sample(uint64_t now) {
  for (Worker& worker : workers_) {
    if (worker.figures.stop_ns != 0 || worker.figures.start_ns == 0) continue;
    if (worker.pid <= 0 && worker.figures.ended_early) continue;  // read when it ended
    ReadSlot(arena_->slot(worker.figures.index), now, worker.pid > 0 && !worker.frozen,
             &worker.figures);
    if (worker.pid > 0) ReadSchedstat(worker.pid, &worker.figures);
  }
}

bool Workers::WantsCpu(const Worker& worker, uint64_t now) const {
  return worker.pid > 0 && !worker.frozen && worker.figures.start_ns != 0 &&
         now > arena_->slot(worker.figures.index).wants_cpu_since_ns.load(kRelaxed);
}

wire::WorkerSamples Workers::Samples(uint64_t now) const {
  wire::WorkerSamples samples{.time_ns = now, .samples = {}};
  for (const Worker& worker : workers_) {
    const WorkerMeasurement& figures = worker.figures;
    const work::WorkerSlot& slot = arena_->slot(figures.index);
    const uint64_t since = slot.wants_cpu_since_ns.load(kRelaxed);  // "never": waits for others
    samples.samples.push_back({.index = figures.index,
                               .iterations = figures.iterations,
                               .run_ns = figures.run_ns,
                               .max_gap_ns = figures.max_gap_ns,
                               .current_gap_ns =
                                   WantsCpu(worker, now) && now > since ? now - since : 0,
                               .cpu = slot.cpu.load(kRelaxed)});
  }
  return samples;
}

bool Workers::anyone_left() const {
  return std::any_of(workers_.begin(), workers_.end(),
                     [](const Worker& worker) { return worker.pid > 0; });
}

bool Workers::OnChildExit(pid_t pid, int wait_status) {
  for (Worker& worker : workers_) {
    if (worker.pid != pid) continue;
    worker.pid = -1;
    if (worker.figures.stop_ns != 0) return true;  // a step killed it
    ReadSlot(arena_->slot(worker.figures.index), MonotonicNs(), !worker.frozen, &worker.figures);
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

bool Workers::Reap(absl::Span<Worker> workers, uint64_t give_up_ns) {
  for (Worker& worker : workers) {
    while (worker.pid > 0) {
      const pid_t reaped = waitpid(worker.pid, nullptr, WNOHANG);
      if (reaped != 0 && !(reaped < 0 && errno == EINTR)) break;
      if (MonotonicNs() > give_up_ns) return false;
      usleep(500);
    }
    worker.pid = -1;
  }
  return true;
}

void Workers::KillAll() {
  for (Worker& worker : workers_) {
    if (worker.pid > 0) kill(worker.pid, SIGKILL);
  }
  // Waited for, so that their cgroup can be removed. A killed process that is not let run cannot
  // die: that must not hang the agent, the main loop reaps it later.
  Reap(absl::MakeSpan(workers_), MonotonicNs() + 1000000000);
}

void Workers::BeginPhase(uint32_t steps, uint64_t now) {
  phase_.emplace();
  phase_->steps = steps;
  phase_->start_ns = now;
  for (Worker& worker : workers_) {
    worker.in_phase = worker.pid > 0;
    if (!worker.in_phase) continue;
    worker.phase_iterations = worker.figures.iterations;
    worker.phase_run_ns = worker.figures.run_ns;
    for (auto& word : arena_->slot(worker.figures.index).cpus_used) word.exchange(0, kRelaxed);
  }
}

void Workers::EndPhase(uint64_t now) {
  if (!phase_.has_value()) return;
  phase_->end_ns = now;
  for (const Worker& worker : workers_) {
    if (!worker.in_phase || worker.pid <= 0) continue;
    phase_->workers.push_back({.index = worker.figures.index,
                               .iterations = worker.figures.iterations - worker.phase_iterations,
                               .run_ns = worker.figures.run_ns - worker.phase_run_ns,
                               .frozen = worker.frozen,
                               .cpus_used = CpusUsed(arena_->slot(worker.figures.index)),
                               .cpus_allowed = worker.allowed});
  }
  phases_.push_back(*std::move(phase_));
  phase_.reset();
}

std::vector<WorkerMeasurement> Workers::Figures() const {
  std::vector<WorkerMeasurement> figures;
  for (const Worker& worker : workers_) figures.push_back(worker.figures);
  return figures;
}

}  // namespace stasis::agent
