// wake_chain: tokens go round a ring; who gets one passes it on.
#include "guest/work/compute.h"
#include "guest/work/kinds/kinds.h"

namespace stasis::work {

void RunWakeChain(Worker& worker) {
  const uint32_t next = (worker.index + 1) % worker.spec.workers;
  std::atomic<uint32_t>& mine = worker.mailbox(worker.index).word;  // tokens given to it, ever
  std::atomic<uint32_t>& other = worker.mailbox(next).word;
  uint32_t taken = 0;
  uint64_t start = worker.index == 0 ? worker.spec.tokens : 0;
  while (!worker.stopped()) {
    if (start > 0) {
      --start;
    } else {
      WaitWhile(&mine, taken, &worker.meter);
      ++taken;
      worker.meter.CountIteration();
    }
    ComputeFor(Ns(worker.spec.run), &worker);
    StampWakeUp(&worker.slot(next));
    other.fetch_add(1, std::memory_order_release);
    WakeAll(&other);
  }
}

}  // namespace stasis::work
