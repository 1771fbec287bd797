// The cost of measuring a worker: what each look at the clock and each counted wake-up adds to it.
#include "guest/work/meter.h"

#include <benchmark/benchmark.h>

#include "guest/work/clock.h"
#include "guest/work/compute.h"

namespace stasis::work {
namespace {

void Clock(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(NowNs());
}
BENCHMARK(Clock);

void Tick(benchmark::State& state) {
  WorkerSlot slot;
  Meter meter(&slot);
  for (auto _ : state) benchmark::DoNotOptimize(meter.Tick());
}
BENCHMARK(Tick);

void RecordInHistogram(benchmark::State& state) {
  WorkerSlot slot;
  uint64_t ns = 1;
  for (auto _ : state) slot.wakeup.Record(ns = (ns * 5) & 0xfffffff);
}
BENCHMARK(RecordInHistogram);

void TickAndRecord(benchmark::State& state) {
  WorkerSlot slot;
  Meter meter(&slot);
  uint64_t last = meter.Tick();
  for (auto _ : state) {
    const uint64_t now = meter.Tick();
    slot.wakeup.Record(now - last);
    last = now;
  }
}
BENCHMARK(TickAndRecord);

// A whole wait for a partner without the waiting.
void WaitStampedByAPartner(benchmark::State& state) {
  WorkerSlot slot;
  Meter meter(&slot);
  for (auto _ : state) {
    meter.BeginWait();
    StampWakeUp(&slot);
    meter.EndWait();
  }
}
BENCHMARK(WaitStampedByAPartner);

// For comparison: the work between two looks at the clock.
void OneIterationOfComputing(benchmark::State& state) {
  for (auto _ : state) Compute();
}
BENCHMARK(OneIterationOfComputing);

}  // namespace
}  // namespace stasis::work

BENCHMARK_MAIN();
