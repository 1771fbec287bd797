// schbench: a messenger and its workers, after the benchmark of that name.
#include <algorithm>

#include "guest/work/clock.h"
#include "guest/work/compute.h"
#include "guest/work/kinds/kinds.h"

namespace stasis::work {
namespace {

constexpr uint32_t kIdle = 0;
constexpr uint32_t kRequested = 1;

// Workers that are still busy when a request is due get none: the load stays bounded, and the tail
// shows in the response of the one that they are busy with.
void RunMessenger(Worker& worker) {
  uint64_t due = NowNs();
  while (!worker.stopped()) {
    due = std::max(due + Ns(worker.spec.period), worker.meter.Tick());
    worker.meter.SleepUntil(due);
    for (uint32_t i = 1; i < worker.spec.workers; ++i) {
      Mailbox& box = worker.mailbox(i);
      if (box.word.load(std::memory_order_acquire) != kIdle) continue;
      box.time_ns.store(worker.meter.Tick(), std::memory_order_relaxed);
      StampWakeUp(&worker.slot(i));
      box.word.store(kRequested, std::memory_order_release);
      WakeAll(&box.word);
    }
    worker.meter.CountIteration();
  }
}

}  // namespace

void RunSchbench(Worker& worker) {
  if (worker.index == 0) return RunMessenger(worker);
  Mailbox& box = worker.mailbox(worker.index);
  while (!worker.stopped()) {
    WaitWhile(&box.word, kIdle, &worker.meter);
    const uint64_t asked = box.time_ns.load(std::memory_order_relaxed);
    ComputeFor(Ns(worker.spec.run), &worker);
    worker.meter.CountResponse(asked);
    worker.meter.CountIteration();
    box.word.store(kIdle, std::memory_order_release);
  }
}

}  // namespace stasis::work
