#include "guest/work/worker.h"

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>

#include "guest/work/clock.h"

namespace stasis::work {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
// One iteration: some microseconds on a CPU of today, some tens on an emulated one.
constexpr int kRoundsPerIteration = 2000;
constexpr uint64_t kRunTimePeriodNs = 10000000;  // reading CPU time is a system call: not often

// A fixed amount of integer work that the compiler cannot drop.
void Compute() {
  uint64_t x = 88172645463325252u;
  for (int i = 0; i < kRoundsPerIteration; ++i) {
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    asm volatile("" : "+r"(x));
  }
}

void WaitForGo(Control* control) {
  while (control->go.load(std::memory_order_acquire) == 0) {
    syscall(SYS_futex, &control->go, FUTEX_WAIT, 0, nullptr, nullptr, 0);
  }
}

// One period of a bursty worker: `run` of its own CPU time would hide waiting, so that wall time
// since the start of the burst is what counts.
void Burst(const WorkSpec& spec, const Control& control, Meter* meter) {
  const uint64_t run_ns = static_cast<uint64_t>(absl::ToInt64Nanoseconds(spec.run));
  const uint64_t sleep_ns = static_cast<uint64_t>(absl::ToInt64Nanoseconds(spec.sleep));
  uint64_t now = meter->Tick();
  const uint64_t end = now + run_ns;
  while (now < end && !control.stop.load(kRelaxed)) {
    Compute();
    meter->CountIteration();
    now = meter->Tick();
  }
  meter->SleepUntil(now + sleep_ns);
}

}  // namespace

uint64_t Meter::Tick() {
  const uint64_t now = NowNs();
  const uint64_t since = slot_.wants_cpu_since_ns.load(kRelaxed);
  const int cpu = sched_getcpu();
  if (cpu >= 0) NoteCpu(static_cast<uint32_t>(cpu));
  if (now > since && now - since > slot_.max_gap_ns.load(kRelaxed)) {
    slot_.gap_at_ns.store(since, kRelaxed);
    slot_.gap_cpu.store(last_cpu_, kRelaxed);
    slot_.max_gap_ns.store(now - since, kRelaxed);
  }
  slot_.wants_cpu_since_ns.store(now, kRelaxed);
  if (now >= next_run_time_ns_) {
    slot_.run_ns.store(ClockNs(CLOCK_THREAD_CPUTIME_ID), kRelaxed);
    next_run_time_ns_ = now + kRunTimePeriodNs;
  }
  return now;
}

void Meter::NoteCpu(uint32_t cpu) {
  if (cpu == last_cpu_ || cpu >= CpuSet::kMaxCpus) return;
  if (last_cpu_ != UINT32_MAX) slot_.migrations.fetch_add(1, kRelaxed);
  last_cpu_ = cpu;
  slot_.cpu.store(cpu, kRelaxed);
  slot_.cpus_used[cpu / 64].fetch_or(uint64_t{1} << (cpu % 64), kRelaxed);
}

void Meter::SleepUntil(uint64_t deadline_ns) {
  slot_.run_ns.store(ClockNs(CLOCK_THREAD_CPUTIME_ID), kRelaxed);
  slot_.wants_cpu_since_ns.store(deadline_ns, kRelaxed);
  const timespec deadline = {.tv_sec = static_cast<time_t>(deadline_ns / 1000000000u),
                             .tv_nsec = static_cast<long>(deadline_ns % 1000000000u)};
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &deadline, nullptr) == EINTR) {
  }
  Tick();
}

void Meter::CountIteration() {
  // The only writer: no read-modify-write needed.
  slot_.iterations.store(slot_.iterations.load(kRelaxed) + 1, kRelaxed);
}

void RunWorker(const WorkSpec& spec, Control* control, WorkerSlot* slot) {
  WaitForGo(control);
  Meter meter(slot);
  meter.Tick();
  slot->started.store(true, kRelaxed);
  while (!control->stop.load(kRelaxed)) {
    switch (spec.kind) {
      case WorkKind::kCpuSpin:
        Compute();
        meter.CountIteration();
        break;
      case WorkKind::kBursty:
        Burst(spec, *control, &meter);
        break;
      case WorkKind::kYield:
        Compute();
        meter.CountIteration();
        sched_yield();
        break;
    }
    meter.Tick();
  }
  slot->run_ns.store(ClockNs(CLOCK_THREAD_CPUTIME_ID), kRelaxed);
}

absl::StatusOr<pid_t> ForkWorker(const WorkSpec& spec, Control* control, WorkerSlot* slot) {
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid < 0) return absl::ErrnoToStatus(errno, "fork of a worker");
  if (pid > 0) return pid;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(0);  // it died before the line above
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  RunWorker(spec, control, slot);
  _exit(0);
}

}  // namespace stasis::work
