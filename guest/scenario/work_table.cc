#include "guest/scenario/work_table.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace stasis {
namespace {

using Unit = ParameterUnit;

constexpr int64_t kUs = 1000;
constexpr int64_t kMs = 1000 * kUs;
constexpr int64_t kHour = 3600000 * kMs;
constexpr int64_t kKiB = 1024;
constexpr int64_t kMiB = 1024 * kKiB;
constexpr int64_t kGiB = 1024 * kMiB;

constexpr WorkParameter Time(const char* name, absl::Duration WorkSpec::*member, int64_t fallback,
                             int64_t low, const char* what) {
  return {name, Unit::kTime, member, false, fallback, low, kHour, what};
}

constexpr WorkParameter kBursty[] = {
    Time("run", &WorkSpec::run, 5 * kMs, kUs, "time from the start of a burst to its end"),
    Time("sleep", &WorkSpec::sleep, 10 * kMs, kUs, "sleep between bursts"),
};
constexpr WorkParameter kMixed[] = {
    Time("run", &WorkSpec::run, 2 * kMs, kUs, "longest burst"),
    Time("sleep", &WorkSpec::sleep, 2 * kMs, kUs, "longest sleep"),
    {"memory", Unit::kSize, &WorkSpec::memory_bytes, false, 256 * kKiB, 4 * kKiB, kGiB,
     "memory that it walks and faults in"},
};
constexpr WorkParameter kIoSync[] = {
    {"path", Unit::kText, &WorkSpec::path, true, 0, 0, 0,
     "block device, which is overwritten, or file, which is made"},
    {"block", Unit::kSize, &WorkSpec::block_bytes, false, 4 * kKiB, kKiB, kMiB,
     "bytes of one write; divides span"},
    {"span", Unit::kSize, &WorkSpec::span_bytes, false, kMiB, kKiB, kGiB,
     "part of the device or file of one worker; they lie one after the other"},
    Time("sleep", &WorkSpec::sleep, 0, 0, "sleep after each write"),
};
constexpr WorkParameter kPipePing[] = {
    {"message", Unit::kCount, &WorkSpec::message_bytes, false, 1, 1, 4096, "bytes of a message"},
    Time("run", &WorkSpec::run, 0, 0, "computing between getting and passing it on"),
};
constexpr WorkParameter kFutexPing[] = {
    Time("run", &WorkSpec::run, 0, 0, "computing between being woken and waking"),
};
constexpr WorkParameter kFutexFanout[] = {
    Time("period", &WorkSpec::period, 5 * kMs, 10 * kUs, "time between wake-ups of all"),
    Time("run", &WorkSpec::run, 100 * kUs, 0, "computing of a waiter when woken"),
};
constexpr WorkParameter kWakeChain[] = {
    Time("run", &WorkSpec::run, 20 * kUs, 0, "computing of each link"),
    {"tokens", Unit::kCount, &WorkSpec::tokens, false, 1, 1, kMaxWorkers,
     "wake-ups that go round at once"},
};
constexpr WorkParameter kCachePressure[] = {
    {"memory", Unit::kSize, &WorkSpec::memory_bytes, false, 8 * kMiB, 4 * kKiB, kGiB,
     "memory that one worker walks"},
};
constexpr WorkParameter kPageFaultChurn[] = {
    {"memory", Unit::kSize, &WorkSpec::memory_bytes, false, kMiB, 4 * kKiB, kGiB,
     "memory that one worker maps, touches page by page and unmaps"},
};
constexpr WorkParameter kForkExit[] = {
    Time("run", &WorkSpec::run, 100 * kUs, 0, "computing of a child before it exits"),
};
constexpr WorkParameter kNiceSweep[] = {
    {"nice_from", Unit::kCount, &WorkSpec::nice_from, false, -20, -20, 19, "first nice value"},
    {"nice_to", Unit::kCount, &WorkSpec::nice_to, false, 19, -20, 19, "last nice value"},
    Time("period", &WorkSpec::period, 20 * kMs, 10 * kUs, "time at each value"),
};
constexpr WorkParameter kAffinityChurn[] = {
    Time("period", &WorkSpec::period, 5 * kMs, 10 * kUs, "time at each set of CPUs"),
};
constexpr WorkParameter kPolicyChurn[] = {
    Time("period", &WorkSpec::period, 5 * kMs, 10 * kUs, "time under each policy"),
    {"policies", Unit::kPolicies, &WorkSpec::policies, false, 0, 0, 0,
     "policies, in turn; all by default"},
};
constexpr WorkParameter kMutexContention[] = {
    Time("hold", &WorkSpec::hold, 50 * kUs, 0, "computing with the mutex"),
    Time("run", &WorkSpec::run, 50 * kUs, 0, "computing without it"),
};
constexpr WorkParameter kRtPeriodic[] = {
    Time("period", &WorkSpec::period, 10 * kMs, 10 * kUs, "time between releases"),
    Time("run", &WorkSpec::run, kMs, 0, "computing after each release; less than period"),
};
constexpr WorkParameter kTimerWake[] = {
    Time("period", &WorkSpec::period, kMs, 10 * kUs, "time between timers"),
};
constexpr WorkParameter kSchbench[] = {
    Time("period", &WorkSpec::period, 2 * kMs, 10 * kUs, "time between requests to one worker"),
    Time("run", &WorkSpec::run, 500 * kUs, 0, "computing for a request"),
};
constexpr WorkParameter kCommand[] = {
    {"command", Unit::kTexts, &WorkSpec::command, true, 0, 0, 0,
     "program (a path in the guest) and arguments, run again when it ends"},
};

constexpr GroupShape kAlone{};
constexpr GroupShape kPairs{.min_workers = 2, .multiple_of = 2};
constexpr GroupShape kTogether{.min_workers = 2};

const WorkKindInfo kKinds[] = {
    {WorkKind::kCpuSpin,
     "cpu_spin",
     "computes all the time",
     "some microseconds of computing",
     kAlone,
     SchedPolicy::kNormal,
     {}},
    {WorkKind::kBursty, "bursty", "computes for a while, then sleeps",
     "some microseconds of computing", kAlone, SchedPolicy::kNormal, kBursty},
    {WorkKind::kYield,
     "yield",
     "computes a little, then calls sched_yield()",
     "a yield",
     kAlone,
     SchedPolicy::kNormal,
     {}},
    {WorkKind::kMixed, "mixed",
     "computes, sleeps, yields, walks memory and takes page faults in random order", "one of these",
     kAlone, SchedPolicy::kNormal, kMixed},
    {WorkKind::kIoSync, "io_sync", "writes a block and syncs it, again and again",
     "a write with fdatasync", kAlone, SchedPolicy::kNormal, kIoSync},
    {WorkKind::kPipePing, "pipe_ping", "pairs pass a message to and fro over two pipes",
     "a message received", kPairs, SchedPolicy::kNormal, kPipePing},
    {WorkKind::kFutexPing, "futex_ping", "pairs wake each other in turn by futex", "a wake-up",
     kPairs, SchedPolicy::kNormal, kFutexPing},
    {WorkKind::kFutexFanout,
     "futex_fanout",
     "one worker wakes all others at once, which compute a little and wait again",
     "a wake-up (of all, for the waker)",
     {.min_workers = 2, .leader = "waker"},
     SchedPolicy::kNormal,
     kFutexFanout},
    {WorkKind::kWakeChain, "wake_chain", "workers in a ring, each wakes the next one", "a wake-up",
     kTogether, SchedPolicy::kNormal, kWakeChain},
    {WorkKind::kCachePressure, "cache_pressure", "walks memory, a cache line at a time",
     "some hundred cache lines", kAlone, SchedPolicy::kNormal, kCachePressure},
    {WorkKind::kPageFaultChurn, "page_fault_churn", "maps memory, touches all pages, unmaps it",
     "a map and unmap", kAlone, SchedPolicy::kNormal, kPageFaultChurn},
    {WorkKind::kForkExit, "fork_exit", "forks a child that computes and exits, and waits for it",
     "a child", kAlone, SchedPolicy::kNormal, kForkExit},
    {WorkKind::kNiceSweep, "nice_sweep", "computes, and changes its nice value step by step",
     "some microseconds of computing", kAlone, SchedPolicy::kNormal, kNiceSweep},
    {WorkKind::kAffinityChurn, "affinity_churn",
     "computes, and changes its affinity to random sets of the CPUs that it may use",
     "some microseconds of computing", kAlone, SchedPolicy::kNormal, kAffinityChurn},
    {WorkKind::kPolicyChurn, "policy_churn", "computes, and changes its scheduling policy",
     "some microseconds of computing", kAlone, SchedPolicy::kNormal, kPolicyChurn},
    {WorkKind::kMutexContention, "mutex_contention",
     "takes a mutex that is handed over in the order of asking, computes, releases it",
     "a hold of the mutex", kTogether, SchedPolicy::kNormal, kMutexContention},
    {WorkKind::kRtPeriodic, "rt_periodic", "wakes up at fixed times and computes", "a period",
     kAlone, SchedPolicy::kFifo, kRtPeriodic},
    {WorkKind::kTimerWake, "timer_wake", "sleeps on a timer, again and again", "a timer", kAlone,
     SchedPolicy::kNormal, kTimerWake},
    {WorkKind::kSchbench,
     "schbench",
     "a messenger hands a request to every idle worker, which computes and waits for the next",
     "a request (for the messenger, a round)",
     {.min_workers = 2, .leader = "messenger"},
     SchedPolicy::kNormal,
     kSchbench},
    {WorkKind::kCommand, "command", "runs a program", "a start of the program", kAlone,
     SchedPolicy::kNormal, kCommand},
};

}  // namespace

absl::Span<const WorkKindInfo> WorkKinds() { return kKinds; }

const WorkKindInfo& InfoOf(WorkKind kind) { return kKinds[static_cast<size_t>(kind)]; }

absl::Span<const fields::EnumName<WorkKind>> EnumNames(WorkKind) {
  static const auto* names = [] {
    auto* made = new std::vector<fields::EnumName<WorkKind>>;
    for (const WorkKindInfo& info : kKinds) made->push_back({info.kind, info.name});
    return made;
  }();
  return *names;
}

WorkSpec DefaultWork(WorkKind kind) {
  const WorkKindInfo& info = InfoOf(kind);
  WorkSpec work{.kind = kind, .workers = info.group.min_workers, .policy = info.policy};
  for (const WorkParameter& parameter : info.parameters) {
    if (auto* time = std::get_if<absl::Duration WorkSpec::*>(&parameter.member)) {
      work.*(*time) = absl::Nanoseconds(parameter.fallback);
    } else if (auto* size = std::get_if<uint64_t WorkSpec::*>(&parameter.member)) {
      work.*(*size) = static_cast<uint64_t>(parameter.fallback);
    } else if (auto* number = std::get_if<int64_t WorkSpec::*>(&parameter.member)) {
      work.*(*number) = parameter.fallback;
    } else if (auto* list = std::get_if<std::vector<SchedPolicy> WorkSpec::*>(&parameter.member)) {
      for (const auto& entry : EnumNames(SchedPolicy())) (work.*(*list)).push_back(entry.value);
    }
  }
  const bool real_time = work.policy == SchedPolicy::kFifo ||
                         work.policy == SchedPolicy::kRoundRobin || !work.policies.empty();
  if (real_time) work.rt_priority = 1;
  return work;
}

std::string ParameterText(ParameterUnit unit, int64_t value) {
  switch (unit) {
    case ParameterUnit::kTime:
      return value == 0 ? "0s" : absl::FormatDuration(absl::Nanoseconds(value));
    case ParameterUnit::kSize:
      for (const auto& [bytes, letter] : {std::pair(kGiB, "G"), {kMiB, "M"}, {kKiB, "K"}}) {
        if (value >= bytes && value % bytes == 0) return absl::StrCat(value / bytes, letter);
      }
      return absl::StrCat(value);
    default:
      return absl::StrCat(value);
  }
}

}  // namespace stasis
