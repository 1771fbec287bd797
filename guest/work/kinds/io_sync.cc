// io_sync: every iteration waits for the disk.
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "guest/work/clock.h"
#include "guest/work/compute.h"
#include "guest/work/kinds/kinds.h"

namespace stasis::work {

void RunIoSync(Worker& worker) {
  const size_t block = worker.spec.block_bytes;
  // Page-aligned and filled: a block of zeroes might be punched out somewhere below.
  void* buffer = mmap(nullptr, block, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (buffer == MAP_FAILED) _exit(kExitRefused);
  memset(buffer, 0xa5, block);
  const uint64_t base = worker.spec.span_bytes * worker.index;
  uint64_t offset = 0;
  while (!worker.stopped()) {
    const uint64_t asked = NowNs();
    worker.meter.BeginWait(kWaitsForDevice);
    const ssize_t written =
        pwrite(worker.files[0], buffer, block, static_cast<off_t>(base + offset));
    const bool good = written == static_cast<ssize_t>(block) && fdatasync(worker.files[0]) == 0;
    worker.meter.EndWait();
    if (!good) _exit(kExitRefused);  // disk full or too small, or an error of the disk
    worker.meter.CountResponse(asked);
    worker.meter.CountIteration();
    offset = (offset + block) % worker.spec.span_bytes;
    if (worker.spec.sleep > absl::ZeroDuration()) {
      worker.meter.SleepUntil(NowNs() + Ns(worker.spec.sleep));
    }
  }
}

}  // namespace stasis::work
