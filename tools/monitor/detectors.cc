#include "tools/monitor/detectors.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace stasis {
namespace {

// A fair task's slice is far below that on every kernel; a tick at HZ=100 is as long.
constexpr absl::Duration kLongestSlice = absl::Milliseconds(10);
// So many times the wait that its weight makes fair are still legal.
constexpr double kLegalRounds = 3;
// All but a tenth of a wait being the host's, nothing is left to blame the scheduler for.
constexpr double kHostShare = 0.9;
// A virtual CPU that idles all the time hardly needs its thread.
constexpr double kIdleShare = 0.5;

std::string Printable(std::string text) {
  for (char& c : text) {
    if (!absl::ascii_isprint(static_cast<unsigned char>(c))) c = '?';
  }
  return text;
}

std::string Readable(absl::Duration duration) {
  const double seconds = absl::ToDoubleSeconds(duration);
  if (seconds >= 1) return absl::StrFormat("%.2f s", seconds);
  return absl::StrFormat("%.0f ms", seconds * 1e3);
}

std::string PolicyText(Policy policy, int rt_priority) {
  if (policy == Policy::kFifo || policy == Policy::kRoundRobin) {
    return absl::StrCat(PolicyName(policy), " ", rt_priority);
  }
  return PolicyName(policy);
}

// "hog (pid 7, cgroup /a)"
std::string TaskText(const TaskSample& task) {
  return absl::StrCat(Printable(task.comm), " (pid ", task.pid,
                      task.cgroup.empty() ? "" : ", cgroup ", Printable(task.cgroup), ")");
}

const CpuSample* CpuOf(const Sample& sample, int cpu) {
  if (cpu < 0 || static_cast<size_t>(cpu) >= sample.cpus.size()) return nullptr;
  const CpuSample* found = &sample.cpus[cpu];
  return found->torn ? nullptr : found;
}

bool IsFair(const TaskSample& task) {
  return !IsRealTime(task.policy) && !task.queue.has_value();
}

}  // namespace

const char* FindingKindName(FindingKind kind) {
  switch (kind) {
    case FindingKind::kTaskStall:
      return "task-stall";
    case FindingKind::kCpuStall:
      return "cpu-stall";
    case FindingKind::kIdleCpu:
      return "idle-cpu";
    case FindingKind::kImbalance:
      return "imbalance";
    case FindingKind::kSchedExt:
      return "sched-ext";
    case FindingKind::kLockHeld:
      return "lock-held";
  }
  return "?";
}

const char* SeverityName(Severity severity) {
  switch (severity) {
    case Severity::kNote:
      return "note";
    case Severity::kWarning:
      return "warning";
    case Severity::kFailure:
      return "failure";
  }
  return "?";
}

void Detectors::Reset() {
  locks_.Reset();
  cpus_.clear();
  waiters_.clear();
  pairs_.clear();
  findings_.clear();
  anybody_suspected_ = false;
  scx_known_ = false;
  bypassed_ = absl::ZeroDuration();
  bypass_told_ = false;
  since_tasks_ = absl::ZeroDuration();
  excused_since_tasks_.clear();
}

std::vector<MonitorEvent> Detectors::Add(const Sample& sample) {
  std::vector<MonitorEvent> events;
  since_tasks_ += sample.interval;
  for (const CpuSample& cpu : sample.cpus) {
    excused_since_tasks_[cpu.cpu] += Excused(sample, cpu.cpu);
  }
  FollowCpus(sample, &events);
  if (!sample.tasks_torn) {
    FollowTasks(sample);
    JudgeTasks(sample, &events);
    JudgeIdle(sample, &events);
    JudgeBalance(sample, &events);
    since_tasks_ = absl::ZeroDuration();
    excused_since_tasks_.clear();
  }
  JudgeScx(sample, &events);
  JudgeLocks(sample, &events);
  for (const CpuSample& cpu : sample.cpus) {
    if (cpu.torn) continue;
    cpus_.resize(std::max(cpus_.size(), static_cast<size_t>(cpu.cpu) + 1));
    cpus_[cpu.cpu].last = cpu;
    cpus_[cpu.cpu].known = true;
  }
  const bool suspected =
      std::any_of(waiters_.begin(), waiters_.end(),
                  [](const auto& entry) { return entry.second.suspected; }) ||
      std::any_of(cpus_.begin(), cpus_.end(), [](const Cpu& cpu) { return cpu.suspected; });
  if (anybody_suspected_ && !suspected) events.push_back({MonitorEvent::What::kCleared, {}});
  anybody_suspected_ = suspected;
  return events;
}

// How much of the sample's interval the host kept from this virtual CPU.
absl::Duration Detectors::Excused(const Sample& sample, int cpu) const {
  absl::Duration excused = sample.stopped;
  const CpuSample* now = CpuOf(sample, cpu);
  if (now == nullptr || !now->host_ran.has_value()) return std::min(excused, sample.interval);
  excused = std::max(excused, now->host_delay.value_or(absl::ZeroDuration()));
  const bool known = static_cast<size_t>(cpu) < cpus_.size() && cpus_[cpu].known;
  // A CPU that has something to run wants its thread to run. (Its delay is only told when it is
  // over.)
  if (known && !cpus_[cpu].last.idle && !now->idle) {
    excused = std::max(excused, sample.interval - *now->host_ran);
  }
  return std::clamp(excused, absl::ZeroDuration(), sample.interval);
}

// (a) A tick, or any other change of a runqueue, moves its clock on.
void Detectors::FollowCpus(const Sample& sample, std::vector<MonitorEvent>* events) {
  for (const CpuSample& now : sample.cpus) {
    if (now.torn || static_cast<size_t>(now.cpu) >= cpus_.size()) continue;
    Cpu& cpu = cpus_[now.cpu];
    if (!cpu.known) continue;
    const bool stands_still = now.online && !now.idle && now.running > 0 &&
                              now.clock_ns == cpu.last.clock_ns && now.pid == cpu.last.pid &&
                              now.switches == cpu.last.switches &&
                              !now.tick_stopped.value_or(false);
    if (!stands_still) {
      cpu.lasted = cpu.ran = absl::ZeroDuration();
      cpu.began = sample.time;
      cpu.suspected = false;
      cpu.finding.reset();
      continue;
    }
    if (cpu.lasted == absl::ZeroDuration()) cpu.began = sample.time - sample.interval;
    cpu.lasted += sample.interval;
    // Without the host's word on it, it ran.
    cpu.ran += std::min(now.host_ran.value_or(sample.interval), sample.interval);
    cpu.last = now;
    if (cpu.finding.has_value()) {
      findings_[*cpu.finding].lasted = cpu.lasted;
      findings_[*cpu.finding].excused = cpu.lasted - cpu.ran;
    } else if (cpu.ran >= limits_.stall) {
      cpu.finding = Keep(CpuFinding(cpu), events);
    } else if (cpu.ran >= limits_.stall / 2 && !cpu.suspected) {
      cpu.suspected = true;
      events->push_back({MonitorEvent::What::kSuspected, CpuFinding(cpu)});
    }
  }
}

MonitorFinding Detectors::CpuFinding(const Cpu& cpu) const {
  const CpuSample& last = cpu.last;
  MonitorFinding finding{.kind = FindingKind::kCpuStall,
                         .cpu = last.cpu,
                         .pid = last.pid,
                         .comm = last.comm,
                         .began = cpu.began,
                         .lasted = cpu.lasted,
                         .excused = cpu.lasted - cpu.ran,
                         .limit = limits_.stall};
  finding.text = absl::StrFormat(
      "CPU %d stands still: its runqueue clock has not moved for %s while its virtual CPU ran; it "
      "runs %s (pid %d), %d tasks are runnable there; limit %s",
      last.cpu, Readable(cpu.ran), Printable(last.comm), last.pid, last.running,
      Readable(limits_.stall));
  return finding;
}

void Detectors::FollowTasks(const Sample& sample) {
  for (auto& [identity, waiter] : waiters_) waiter.seen = false;
  for (const TaskSample& task : sample.tasks) {
    const Identity identity{task.address, task.pid, task.start_ns};
    const auto [entry, is_new] = waiters_.try_emplace(identity);
    Waiter& waiter = entry->second;
    waiter.seen = true;
    const bool ran = is_new || task.RanSince(waiter.task);
    const CpuSample* cpu = CpuOf(sample, task.cpu);
    if (ran) {
      waiter = Waiter{.task = task, .seen = true};
      // What the kernel remembers of the wait, as far as we have not looked.
      waiter.lasted = std::min(since_tasks_, absl::Nanoseconds(task.queued_ns.value_or(0)));
      waiter.began = sample.time - waiter.lasted;
      waiter.behind_pid = -1;
    } else if (task.throttled) {
      // Its time begins when it is let go.
      waiter.began = sample.time;
      waiter.lasted = waiter.excused = absl::ZeroDuration();
      waiter.task = task;
    } else {
      waiter.lasted += since_tasks_;
      // It may have waited for another CPU before: the host is given the benefit of the doubt.
      absl::Duration excused = excused_since_tasks_[task.cpu];
      if (waiter.task.cpu != task.cpu) {
        excused = std::max(excused, excused_since_tasks_[waiter.task.cpu]);
      }
      waiter.excused += excused;
      waiter.task = task;
    }
    if (task.policy == Policy::kIdle) waiter.in_queue_of_idle_policy = true;
    if (cpu == nullptr) continue;
    const int current = cpu->idle ? 0 : cpu->pid;
    if (waiter.behind_pid == -1) {
      waiter.behind_pid = current;
    } else if (waiter.behind_pid != current) {
      waiter.behind_pid = 0;
    }
    waiter.behind = waiter.behind_pid > 0
                        ? absl::StrFormat("%s task %s (pid %d)",
                                          PolicyText(cpu->policy, cpu->rt_priority),
                                          Printable(cpu->comm), cpu->pid)
                        : "";
  }
  for (auto it = waiters_.begin(); it != waiters_.end();) {
    it = it->second.seen ? std::next(it) : waiters_.erase(it);
  }
}

// How long a task may wait, and why that is more than for others.
absl::Duration Detectors::LimitOf(const Waiter& waiter, const ScxSample& scx,
                                  std::string* why) const {
  const TaskSample& task = waiter.task;
  if (task.throttled) {
    *why = "throttled by cpu.max";
    return absl::InfiniteDuration();
  }
  if (waiter.in_queue_of_idle_policy) {
    *why = "SCHED_IDLE";
    return absl::InfiniteDuration();
  }
  if (task.queue.has_value() && scx.enabled && scx.watchdog > absl::ZeroDuration() &&
      scx.watchdog * kShareOfWatchdog < limits_.stall) {
    return scx.watchdog * kShareOfWatchdog;
  }
  if (IsFair(task) && task.share.has_value() && *task.share > 0) {
    const absl::Duration legal = kLongestSlice * (kLegalRounds / *task.share);
    if (legal > limits_.stall) {
      *why = absl::StrFormat("its weights ask for %.2f %% of its CPU", *task.share * 100);
      return legal;
    }
  }
  return limits_.stall;
}

MonitorFinding Detectors::TaskFinding(const Waiter& waiter, const Sample& sample,
                                      absl::Duration limit) const {
  const TaskSample& task = waiter.task;
  MonitorFinding finding{.kind = FindingKind::kTaskStall,
                         .cpu = task.cpu,
                         .pid = task.pid,
                         .comm = task.comm,
                         .cgroup = task.cgroup,
                         .began = waiter.began,
                         .lasted = waiter.lasted,
                         .excused = waiter.excused,
                         .limit = limit};
  finding.text = absl::StrFormat("%s has waited %s for CPU %d", TaskText(task),
                                 Readable(waiter.lasted), task.cpu);
  const CpuSample* cpu = CpuOf(sample, task.cpu);
  if (!waiter.behind.empty()) {
    absl::StrAppend(&finding.text, cpu != nullptr && IsRealTime(cpu->policy) ? ", behind " : ", which runs ",
                    waiter.behind, " all the time");
  } else if (cpu != nullptr && cpu->idle) {
    absl::StrAppend(&finding.text, ", which idles");
  } else if (cpu != nullptr) {
    absl::StrAppendFormat(&finding.text, ", which runs others, now %s (pid %d)",
                          Printable(cpu->comm), cpu->pid);
  }
  if (task.queue == "none") {
    absl::StrAppendFormat(&finding.text, "; it is in no queue of sched_ext: scheduler '%s' has it, or has lost it",
                          Printable(sample.scx.ops));
  } else if (task.queue.has_value()) {
    absl::StrAppendFormat(&finding.text, "; it is in the queue %s of sched_ext scheduler '%s'", *task.queue,
                          Printable(sample.scx.ops));
  }
  absl::StrAppend(&finding.text, "; limit ", Readable(limit));
  if (task.queue.has_value() && limit == sample.scx.watchdog * kShareOfWatchdog) {
    absl::StrAppendFormat(&finding.text, ", %.1f of its watchdog's", kShareOfWatchdog);
  }
  if (waiter.excused > waiter.lasted * (1 - kHostShare)) {
    absl::StrAppend(&finding.text, "; for ", Readable(waiter.excused),
                    " of it the host kept the virtual CPU from running");
  }
  return finding;
}

// (b)
void Detectors::JudgeTasks(const Sample& sample, std::vector<MonitorEvent>* events) {
  const Waiter* longest = nullptr;
  absl::Duration limit_of_longest;
  size_t beyond = 0;
  for (auto& [identity, waiter] : waiters_) {
    std::string why;
    const absl::Duration limit = LimitOf(waiter, sample.scx, &why);
    if (limit == absl::InfiniteDuration()) continue;
    // The kernel's watchdog makes no difference between the scheduler and the host, and comes first
    // if we wait.
    const bool by_watchdog = limit < limits_.stall;
    const absl::Duration counted = by_watchdog ? waiter.lasted : waiter.lasted - waiter.excused;
    if (counted >= limit / 2 && !waiter.suspected) {
      waiter.suspected = true;
      if (!anybody_suspected_) {
        events->push_back({MonitorEvent::What::kSuspected, TaskFinding(waiter, sample, limit)});
        anybody_suspected_ = true;
      }
    }
    if (counted < limit || waiter.found) continue;
    waiter.found = true;
    ++beyond;
    if (longest == nullptr || waiter.lasted > longest->lasted) {
      longest = &waiter;
      limit_of_longest = limit;
    }
  }
  if (longest == nullptr) return;
  // Of a CPU that stands still, that is the better word.
  const int cpu = longest->task.cpu;
  if (static_cast<size_t>(cpu) < cpus_.size() && cpus_[cpu].suspected) {
    if (!cpus_[cpu].finding.has_value()) cpus_[cpu].finding = Keep(CpuFinding(cpus_[cpu]), events);
    return;
  }
  MonitorFinding finding = TaskFinding(*longest, sample, limit_of_longest);
  if (finding.excused > finding.lasted * kHostShare) finding.severity = Severity::kNote;
  if (beyond > 1) absl::StrAppend(&finding.text, "; ", beyond - 1,
                                  beyond == 2 ? " more task has" : " more tasks have",
                                  " waited as long");
  Keep(finding, events);
}

// (c) For the whole time between two looks the CPU idled and the task waited.
void Detectors::JudgeIdle(const Sample& sample, std::vector<MonitorEvent>* events) {
  for (auto& [identity, waiter] : waiters_) {
    const TaskSample& task = waiter.task;
    int idle_cpu = -1;
    if (waiter.lasted >= sample.interval && !task.throttled && sample.interval > absl::ZeroDuration()) {
      for (const CpuSample& cpu : sample.cpus) {
        if (cpu.torn || !cpu.online || !cpu.active || !cpu.idle || cpu.running > 0 || cpu.cpu == task.cpu ||
            !task.allowed.Contains(static_cast<uint32_t>(cpu.cpu)) ||
            static_cast<size_t>(cpu.cpu) >= cpus_.size()) {
          continue;
        }
        const Cpu& before = cpus_[cpu.cpu];
        if (!before.known || !before.last.idle || before.last.running > 0) continue;
        if (Excused(sample, cpu.cpu) > sample.interval / 2) continue;
        if (cpu.host_ran.value_or(absl::ZeroDuration()) > sample.interval * kIdleShare) continue;
        idle_cpu = cpu.cpu;
        break;
      }
    }
    if (idle_cpu < 0) {
      waiter.beside_idle = absl::ZeroDuration();
      waiter.idle_finding.reset();
      continue;
    }
    waiter.beside_idle += sample.interval;
    waiter.idle_cpu = idle_cpu;
    if (waiter.idle_finding.has_value()) {
      findings_[*waiter.idle_finding].lasted = waiter.beside_idle;
    } else if (waiter.beside_idle >= limits_.idle_beside_waiters) {
      MonitorFinding finding{.kind = FindingKind::kIdleCpu,
                             .severity = Severity::kWarning,
                             .cpu = idle_cpu,
                             .pid = task.pid,
                             .comm = task.comm,
                             .cgroup = task.cgroup,
                             .began = sample.time - waiter.beside_idle,
                             .lasted = waiter.beside_idle,
                             .limit = limits_.idle_beside_waiters};
      finding.text = absl::StrFormat(
          "CPU %d idles while %s waits for CPU %d, and may use %s: for more than %s", idle_cpu,
          TaskText(task), task.cpu, task.allowed.ToString(),
          Readable(limits_.idle_beside_waiters));
      // One of a kind is enough: the others wait beside the same idle CPU.
      const bool told = std::any_of(waiters_.begin(), waiters_.end(), [&](const auto& other) {
        return other.second.idle_finding.has_value() && other.second.idle_cpu == idle_cpu;
      });
      if (!told) waiter.idle_finding = Keep(finding, events);
    }
  }
}

// (d) Fair tasks only: those of sched_ext need not wait where they are, real-time ones not in turn.
void Detectors::JudgeBalance(const Sample& sample, std::vector<MonitorEvent>* events) {
  for (auto& [key, pair] : pairs_) pair.seen = false;
  for (const CpuSample& busy : sample.cpus) {
    if (busy.torn || busy.waiting < 2 || !busy.fair_weight.has_value()) continue;
    for (const CpuSample& light : sample.cpus) {
      if (light.torn || !light.online || !light.active || !light.fair_weight.has_value() || light.cpu == busy.cpu) continue;
      if (!light.idle && IsRealTime(light.policy)) continue;  // no room there for fair tasks
      const size_t depth_of_light = light.waiting + (light.idle ? 0 : 1);
      if (busy.waiting + 1 < depth_of_light + 2) continue;
      const TaskSample* movable = nullptr;
      const TaskSample* confined = nullptr;
      for (const TaskSample& task : sample.tasks) {
        if (task.cpu != busy.cpu || !IsFair(task) || task.throttled || !task.share.has_value() ||
            task.policy == Policy::kIdle) {
          continue;
        }
        if (!task.allowed.Contains(static_cast<uint32_t>(light.cpu))) {
          confined = &task;
          continue;
        }
        // By weight as the kernel has it: with the task on the other CPU it would be more even.
        const double weight = *task.share * static_cast<double>(*busy.fair_weight);
        if (static_cast<double>(*busy.fair_weight) - 2 * weight >=
            static_cast<double>(*light.fair_weight)) {
          movable = &task;
          break;
        }
      }
      // Confined tasks are worth a word beside a CPU that has nothing to do.
      if (movable == nullptr && (confined == nullptr || !light.idle)) continue;
      const TaskSample& task = movable != nullptr ? *movable : *confined;
      Pair& pair = pairs_[{busy.cpu, light.cpu}];
      if (pair.lasted == absl::ZeroDuration()) pair.began = sample.time;
      pair.seen = true;
      pair.confined = movable == nullptr;
      if (Excused(sample, busy.cpu) <= sample.interval / 2 && Excused(sample, light.cpu) <= sample.interval / 2) {
        pair.lasted += sample.interval;
      }
      if (pair.finding.has_value()) {
        findings_[*pair.finding].lasted = pair.lasted;
      } else if (pair.lasted >= limits_.imbalance) {
        MonitorFinding finding{.kind = FindingKind::kImbalance,
                               .severity = movable != nullptr ? Severity::kWarning : Severity::kNote,
                               .cpu = busy.cpu,
                               .pid = task.pid,
                               .comm = task.comm,
                               .cgroup = task.cgroup,
                               .began = pair.began,
                               .lasted = pair.lasted,
                               .limit = limits_.imbalance};
        finding.text = absl::StrFormat(
            "CPU %d has %d waiting tasks and CPU %d %d runnable ones, for more than %s: %s waits and may use "
            "CPUs %s%s",
            busy.cpu, busy.waiting, light.cpu, depth_of_light, Readable(limits_.imbalance),
            TaskText(task), task.allowed.ToString(), movable != nullptr ? "" : " only");
        // Another pair with the same busy CPU says nothing new.
        const bool told = std::any_of(pairs_.begin(), pairs_.end(), [&](const auto& other) {
          return other.second.finding.has_value() && other.first.first == busy.cpu;
        });
        if (!told) pair.finding = Keep(finding, events);
      }
    }
  }
  for (auto it = pairs_.begin(); it != pairs_.end();) {
    Pair& pair = it->second;
    if (!pair.seen) pair.interrupted += sample.interval;
    // Confined tasks stay where they are while others come and go; an imbalance that the kernel
    // could end must last without a break.
    const bool over = !pair.seen && (!pair.confined || pair.interrupted > pair.lasted);
    it = over ? pairs_.erase(it) : std::next(it);
  }
}

// (f)
void Detectors::JudgeLocks(const Sample& sample, std::vector<MonitorEvent>* events) {
  for (const LockWatch::Held& held : locks_.Add(sample)) {
    MonitorFinding finding{.kind = FindingKind::kLockHeld,
                           .severity = Severity::kWarning,
                           .cpu = held.cpu,
                           .began = sample.time - held.lasted,
                           .lasted = held.lasted,
                           .limit = limits_.lock_held};
    finding.text = absl::StrFormat(
        "the lock of CPU %d's runqueue was held in %d of %d looks within %s (it runs %s, pid %d): %s",
        held.cpu, held.held, held.looks, Readable(held.lasted), Printable(held.comm), held.pid,
        sample.scx.enabled ? absl::StrCat("a callback of sched_ext scheduler '",
                                          Printable(sample.scx.ops), "' takes long")
                           : std::string("something in the kernel's scheduler takes long"));
    Keep(finding, events);
  }
}

// (e)
void Detectors::JudgeScx(const Sample& sample, std::vector<MonitorEvent>* events) {
  const ScxSample& scx = sample.scx;
  if (!scx.built_in) return;
  MonitorFinding finding{.kind = FindingKind::kSchedExt,
                         .severity = Severity::kWarning,
                         .began = sample.time};
  const bool ended_before = last_scx_.exit_is_error;
  if (scx_known_ && scx.exit_is_error && !ended_before) {
    const std::string& ops = scx.ops.empty() ? last_scx_.ops : scx.ops;
    finding.text = absl::StrFormat(
        "sched_ext: scheduler '%s' was ended: %s%s%s; its tasks are back with the kernel's own",
        Printable(ops), Printable(scx.exit_reason), scx.exit_message.empty() ? "" : ": ",
        Printable(scx.exit_message));
    Keep(finding, events);
  }
  const bool bypassing =
      scx.enabled && std::any_of(sample.cpus.begin(), sample.cpus.end(),
                                 [](const CpuSample& cpu) { return !cpu.torn && cpu.bypassing; });
  if (!bypassing) {
    bypassed_ = absl::ZeroDuration();
    bypass_told_ = false;
  } else if ((bypassed_ += sample.interval) >= limits_.bypass && !bypass_told_) {
    bypass_told_ = true;
    finding.lasted = bypassed_;
    finding.began = sample.time - bypassed_;
    finding.limit = limits_.bypass;
    finding.text = absl::StrFormat(
        "sched_ext: scheduler '%s' is bypassed for more than %s: the kernel runs tasks in its own order",
        Printable(scx.ops), Readable(limits_.bypass));
    Keep(finding, events);
  }
  const std::string ops = scx.ops.empty() ? last_scx_.ops : scx.ops;
  last_scx_ = scx;
  last_scx_.ops = ops;
  scx_known_ = true;
}

std::optional<size_t> Detectors::Keep(const MonitorFinding& finding,
                                      std::vector<MonitorEvent>* events) {
  // Room is kept for what fails a run.
  const size_t most = finding.severity == Severity::kFailure ? kMostFindings : kMostFindings - 8;
  if (findings_.size() >= most) return std::nullopt;
  findings_.push_back(finding);
  events->push_back({MonitorEvent::What::kFound, finding});
  return findings_.size() - 1;
}

std::vector<Detectors::Wait> Detectors::Waits() const {
  std::vector<Wait> waits;
  for (const auto& [identity, waiter] : waiters_) {
    Wait wait{.task = waiter.task,
              .lasted = waiter.lasted,
              .excused = waiter.excused,
              .behind = waiter.behind};
    wait.limit = LimitOf(waiter, last_scx_, &wait.legal);
    waits.push_back(std::move(wait));
  }
  std::sort(waits.begin(), waits.end(), [](const Wait& a, const Wait& b) {
    return std::tie(b.lasted, a.task.pid) < std::tie(a.lasted, b.task.pid);
  });
  return waits;
}

}  // namespace stasis
