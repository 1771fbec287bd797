// pipe_ping: two processes, two pipes, one message.
#include <errno.h>
#include <signal.h>
#include <unistd.h>

#include "guest/work/clock.h"
#include "guest/work/compute.h"
#include "guest/work/kinds/kinds.h"

namespace stasis::work {
namespace {

constexpr size_t kLongest = 4096;  // PIPE_BUF: written at once
char buffer[kLongest];

// The partner's end of a pipe is closed: when all are to stop, it was merely told so first.
[[noreturn]] void PartnerGone(const Worker& worker) { _exit(worker.stopped() ? 0 : kExitRefused); }

void Send(Worker& worker, WorkerSlot* partner) {
  StampWakeUp(partner);
  // Room for it there always is.
  if (write(worker.files[1], buffer, worker.spec.message_bytes) < 0) PartnerGone(worker);
}

void Receive(Worker& worker) {
  worker.meter.BeginWait();
  for (size_t have = 0; have < worker.spec.message_bytes;) {
    const ssize_t got = read(worker.files[0], buffer, worker.spec.message_bytes - have);
    if (got == 0 || (got < 0 && errno != EINTR)) PartnerGone(worker);
    if (got > 0) have += static_cast<size_t>(got);
  }
  worker.meter.EndWait();
}

}  // namespace

void RunPipePing(Worker& worker) {
  signal(SIGPIPE, SIG_IGN);  // write() says it
  WorkerSlot* partner = &worker.slot(worker.index ^ 1);
  // The even one serves; a message in flight is all that keeps the pair going.
  uint64_t sent = NowNs();
  if (worker.index % 2 == 0) Send(worker, partner);
  while (!worker.stopped()) {
    Receive(worker);
    worker.meter.CountResponse(sent);
    worker.meter.CountIteration();
    ComputeFor(Ns(worker.spec.run), &worker);
    sent = NowNs();
    Send(worker, partner);
  }
}

}  // namespace stasis::work
