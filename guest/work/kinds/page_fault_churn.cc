// page_fault_churn: in the kernel most of the time, with the lock of its memory map.
#include <sys/mman.h>
#include <unistd.h>

#include "guest/work/compute.h"
#include "guest/work/kinds/kinds.h"

namespace stasis::work {
namespace {

constexpr size_t kPage = 4096;

}  // namespace

void RunPageFaultChurn(Worker& worker) {
  const size_t bytes = worker.spec.memory_bytes;
  while (!worker.stopped()) {
    void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) _exit(kExitRefused);
    for (size_t at = 0; at < bytes && !worker.stopped(); at += kPage) {
      static_cast<volatile char*>(memory)[at] = 1;
      worker.meter.Tick();
    }
    munmap(memory, bytes);
    worker.meter.CountIteration();
    worker.meter.Tick();
  }
}

}  // namespace stasis::work
