// sampler_bench: what one look of the monitor costs on this machine, with the memory of a dump.
//
//   bazel run //tools/monitor:sampler_bench -- DUMP [SAMPLES]
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "tools/inspect/dump_file.h"
#include "tools/inspect/kernel.h"
#include "tools/monitor/detectors.h"
#include "tools/monitor/scheduler_sampler.h"

namespace stasis {
namespace {

absl::Duration ThreadCpu() {
  timespec used;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
  return absl::DurationFromTimespec(used);
}

int Main(const char* path, int samples) {
  const absl::StatusOr<std::unique_ptr<DumpFile>> dump = DumpFile::Open(path);
  if (!dump.ok()) return fprintf(stderr, "%s\n", dump.status().ToString().c_str()), 3;
  const absl::Duration begin = ThreadCpu();
  const absl::StatusOr<std::unique_ptr<Kernel>> kernel = Kernel::Open(dump->get());
  if (!kernel.ok()) return fprintf(stderr, "%s\n", kernel.status().ToString().c_str()), 3;
  const auto sampler = SchedulerSampler::Create(kernel->get());
  if (!sampler.ok()) return fprintf(stderr, "%s\n", sampler.status().ToString().c_str()), 3;
  const absl::Duration opened = ThreadCpu();
  Detectors detectors{MonitorLimits()};
  size_t tasks = 0, waiting = 0;
  for (int i = 0; i < samples; ++i) {
    Sample sample = (*sampler)->Read();
    sample.time = absl::UnixEpoch() + i * absl::Milliseconds(100);
    sample.interval = absl::Milliseconds(100);
    detectors.Add(sample);
    tasks = sample.all_tasks;
    waiting = sample.tasks.size();
  }
  printf("%zu tasks, %zu waiting: opening %.1f ms, a sample %.1f us of CPU time (mean of %d)\n", tasks,
         waiting, absl::ToDoubleMilliseconds(opened - begin),
         absl::ToDoubleMicroseconds(ThreadCpu() - opened) / samples, samples);
  return 0;
}

}  // namespace
}  // namespace stasis

int main(int argc, char** argv) {
  if (argc < 2) return fprintf(stderr, "usage: sampler_bench DUMP [SAMPLES]\n"), 2;
  return stasis::Main(argv[1], argc > 2 ? atoi(argv[2]) : 1000);
}
