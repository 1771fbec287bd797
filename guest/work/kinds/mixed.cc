// mixed: what ordinary programs do, in an order that differs by worker and not by run.
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include "guest/work/compute.h"
#include "guest/work/kinds/kinds.h"

namespace stasis::work {
namespace {

constexpr size_t kPage = 4096;

}  // namespace

void RunMixed(Worker& worker) {
  const size_t bytes = worker.spec.memory_bytes;
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) _exit(kExitRefused);
  uint64_t random = SeedOf(worker);
  while (!worker.stopped()) {
    const uint64_t share = NextRandom(&random) % 1024;
    switch (NextRandom(&random) % 5) {
      case 0:
        worker.meter.SleepUntil(worker.meter.Tick() + Ns(worker.spec.sleep) * share / 1024);
        break;
      case 1:
        sched_yield();
        break;
      case 2:
        madvise(memory, bytes, MADV_DONTNEED);
        break;
      case 3:
        for (size_t at = 0; at < bytes && !worker.stopped(); at += kPage) {
          static_cast<volatile char*>(memory)[at] = 1;
          worker.meter.Tick();
        }
        break;
      default:
        ComputeFor(Ns(worker.spec.run) * share / 1024, &worker);
        break;
    }
    worker.meter.CountIteration();
    worker.meter.Tick();
  }
}

}  // namespace stasis::work
