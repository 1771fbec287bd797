#include "guest/work/meter.h"

#include <errno.h>
#include <sched.h>
#include <time.h>

#include "guest/work/clock.h"

namespace stasis::work {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr uint64_t kRunTimePeriodNs = 10000000;  // reading CPU time is a system call: not often

}  // namespace

uint64_t Meter::CpuNs() const { return ClockNs(CLOCK_THREAD_CPUTIME_ID) + child_ns_; }

void Meter::StoreRunTime() { slot_.run_ns.store(CpuNs(), kRelaxed); }

void Meter::NoteGap(uint64_t since, uint64_t now) {
  if (now <= since || now - since <= slot_.max_gap_ns.load(kRelaxed)) return;
  slot_.gap_at_ns.store(since, kRelaxed);
  slot_.gap_cpu.store(last_cpu_, kRelaxed);
  slot_.max_gap_ns.store(now - since, kRelaxed);
}

uint64_t Meter::Tick() {
  const uint64_t now = NowNs();
  const uint64_t since = slot_.wants_cpu_since_ns.load(kRelaxed);
  const int cpu = sched_getcpu();
  if (cpu >= 0) NoteCpu(static_cast<uint32_t>(cpu));
  NoteGap(since, now);
  slot_.wants_cpu_since_ns.store(now, kRelaxed);
  if (now >= next_run_time_ns_) {
    StoreRunTime();
    next_run_time_ns_ = now + kRunTimePeriodNs;
  }
  return now;
}

void Meter::NoteCpu(uint32_t cpu) {
  if (cpu >= CpuSet::kMaxCpus) return;
  // The bit is gone when the agent began a new phase.
  if (cpu == last_cpu_ && (slot_.cpus_used[cpu / 64].load(kRelaxed) >> (cpu % 64) & 1) != 0) return;
  // Asked again: it may have lost the CPU since, and must not enter an old one into a new phase.
  if (const int again = sched_getcpu(); again >= 0 && again < int{CpuSet::kMaxCpus}) {
    cpu = static_cast<uint32_t>(again);
  }
  if (cpu != last_cpu_ && last_cpu_ != UINT32_MAX) slot_.migrations.fetch_add(1, kRelaxed);
  last_cpu_ = cpu;
  slot_.cpu.store(cpu, kRelaxed);
  slot_.cpus_used[cpu / 64].fetch_or(uint64_t{1} << (cpu % 64), kRelaxed);
}

void Meter::SleepUntil(uint64_t deadline_ns) {
  StoreRunTime();
  slot_.wants_cpu_since_ns.store(deadline_ns, kRelaxed);
  const timespec deadline = {.tv_sec = static_cast<time_t>(deadline_ns / 1000000000u),
                             .tv_nsec = static_cast<long>(deadline_ns % 1000000000u)};
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &deadline, nullptr) == EINTR) {
  }
  // The deadline, or a later time if the agent thawed this worker after it.
  const uint64_t since = slot_.wants_cpu_since_ns.load(kRelaxed);
  const uint64_t now = Tick();
  slot_.wakeup.Record(now > since ? now - since : 0);
}

void Meter::BeginWait(uint64_t what) {
  slot_.waits_since_ns.store(Tick(), kRelaxed);
  slot_.wants_cpu_since_ns.store(what, std::memory_order_seq_cst);
}

void Meter::EndWait() {
  // Without a stamp it did not block, or nobody knows when its wait was over: no gap.
  const uint64_t since = slot_.wants_cpu_since_ns.load(std::memory_order_acquire);
  const uint64_t now = Tick();
  if (since < kWaitsForDevice) slot_.wakeup.Record(now > since ? now - since : 0);
}

void Meter::CountIteration() {
  // The only writer: no read-modify-write needed.
  slot_.iterations.store(slot_.iterations.load(kRelaxed) + 1, kRelaxed);
}

void Meter::CountResponse(uint64_t since_ns) {
  const uint64_t now = NowNs();
  slot_.response.Record(now > since_ns ? now - since_ns : 0);
}

void StampWakeUp(WorkerSlot* partner) {
  uint64_t expected = kWaitsForPartner;
  partner->wants_cpu_since_ns.compare_exchange_strong(expected, NowNs());
}

}  // namespace stasis::work
