// mutex_contention: a lock convoy. The mutex is handed over in the order of asking, so that
// whoever is kept from the CPU holds up all others.
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "guest/work/clock.h"
#include "guest/work/compute.h"
#include "guest/work/kinds/kinds.h"

namespace stasis::work {
namespace {

// The holder of ticket t waits at the place t % workers, and at most one worker is at a place,
// since each asks for one ticket at a time. `word` of a place is the ticket that may enter there,
// its low half; time_ns names the worker that waits there, plus 1.
void Acquire(Worker& worker, uint64_t ticket) {
  Mailbox& place = worker.mailbox(static_cast<uint32_t>(ticket % worker.spec.workers));
  const uint32_t mine = static_cast<uint32_t>(ticket);
  worker.meter.BeginWait();
  place.time_ns.store(worker.index + 1);
  for (uint32_t may_enter; (may_enter = place.word.load()) != mine;) {
    syscall(SYS_futex, &place.word, FUTEX_WAIT, may_enter, nullptr, nullptr, 0);
  }
  worker.meter.EndWait();
  place.time_ns.store(0);
}

void Release(Worker& worker, uint64_t ticket) {
  Mailbox& place = worker.mailbox(static_cast<uint32_t>((ticket + 1) % worker.spec.workers));
  const uint64_t waiter = place.time_ns.load();
  if (waiter != 0) StampWakeUp(&worker.slot(static_cast<uint32_t>(waiter - 1)));
  place.word.store(static_cast<uint32_t>(ticket + 1));
  WakeAll(&place.word);
}

}  // namespace

void RunMutexContention(Worker& worker) {
  std::atomic<uint64_t>& next_ticket = worker.common().time_ns;
  while (!worker.stopped()) {
    ComputeFor(Ns(worker.spec.run), &worker);
    const uint64_t asked = NowNs();
    const uint64_t ticket = next_ticket.fetch_add(1, std::memory_order_acq_rel);
    Acquire(worker, ticket);
    worker.meter.CountResponse(asked);
    ComputeFor(Ns(worker.spec.hold), &worker);
    worker.meter.CountIteration();
    Release(worker, ticket);
  }
}

}  // namespace stasis::work
