// cache_pressure: walks more memory than caches hold, in an order that no prefetcher knows.
#include <sys/mman.h>
#include <unistd.h>

#include "guest/work/compute.h"
#include "guest/work/kinds/kinds.h"

namespace stasis::work {
namespace {

constexpr size_t kLine = 64;
constexpr size_t kPage = 4096;
constexpr int kLinesPerIteration = 512;
constexpr int kLinesPerTick = 64;

}  // namespace

void RunCachePressure(Worker& worker) {
  const size_t lines = worker.spec.memory_bytes / kLine;
  void* memory = mmap(nullptr, worker.spec.memory_bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) _exit(kExitRefused);
  // Page faults first, each with a look at the clock: in the walk they would pass for gaps.
  for (size_t at = 0; at < worker.spec.memory_bytes && !worker.stopped(); at += kPage) {
    static_cast<volatile char*>(memory)[at] = 1;
    worker.meter.Tick();
  }
  uint64_t random = SeedOf(worker);
  while (!worker.stopped()) {
    for (int i = 0; i < kLinesPerIteration; ++i) {
      const size_t line = NextRandom(&random) % lines;
      volatile char& byte = static_cast<volatile char*>(memory)[line * kLine];
      byte = static_cast<char>(byte + 1);
      if (i % kLinesPerTick == 0) worker.meter.Tick();
    }
    worker.meter.CountIteration();
    worker.meter.Tick();
  }
}

}  // namespace stasis::work
