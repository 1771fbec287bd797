// futex_ping: two processes wake each other in turn.
#include "guest/work/clock.h"
#include "guest/work/compute.h"
#include "guest/work/kinds/kinds.h"

namespace stasis::work {

void RunFutexPing(Worker& worker) {
  // Each one's word counts the wake-ups that it got.
  std::atomic<uint32_t>& mine = worker.mailbox(worker.index).word;
  std::atomic<uint32_t>& other = worker.mailbox(worker.index ^ 1).word;
  uint32_t seen = 0;
  bool my_turn = worker.index % 2 == 0;
  uint64_t asked = NowNs();
  while (!worker.stopped()) {
    if (!my_turn) {
      WaitWhile(&mine, seen++, &worker.meter);
      worker.meter.CountResponse(asked);
      worker.meter.CountIteration();
    }
    my_turn = false;
    ComputeFor(Ns(worker.spec.run), &worker);
    asked = NowNs();
    StampWakeUp(&worker.slot(worker.index ^ 1));
    other.fetch_add(1, std::memory_order_release);
    WakeAll(&other);
  }
}

}  // namespace stasis::work
