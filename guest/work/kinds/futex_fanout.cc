// futex_fanout: worker 0 wakes all others, at fixed times.
#include <algorithm>

#include "guest/work/clock.h"
#include "guest/work/compute.h"
#include "guest/work/kinds/kinds.h"

namespace stasis::work {
namespace {

void RunWaker(Worker& worker) {
  uint64_t due = NowNs();
  while (!worker.stopped()) {
    due = std::max(due + Ns(worker.spec.period), worker.meter.Tick());
    worker.meter.SleepUntil(due);
    for (uint32_t i = 1; i < worker.spec.workers; ++i) StampWakeUp(&worker.slot(i));
    worker.common().word.fetch_add(1, std::memory_order_release);
    WakeAll(&worker.common().word);
    worker.meter.CountIteration();
  }
}

}  // namespace

void RunFutexFanout(Worker& worker) {
  if (worker.index == 0) return RunWaker(worker);
  std::atomic<uint32_t>& round = worker.common().word;
  uint32_t seen = 0;
  while (!worker.stopped()) {
    WaitWhile(&round, seen, &worker.meter);
    seen = round.load(std::memory_order_acquire);  // rounds that passed while it computed are lost
    ComputeFor(Ns(worker.spec.run), &worker);
    worker.meter.CountIteration();
  }
}

}  // namespace stasis::work
