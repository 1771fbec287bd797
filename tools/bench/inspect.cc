// The benchmark of reading a scheduler from memory: the time of one full view against the number of
// tasks and CPUs, and what `stasis dump` takes for a dump of 1 GiB, beside drgn on the same file. See
// docs/benchmarks.md.
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "tools/bench/bench_lane.h"
#include "tools/bench/child.h"
#include "tools/bench/statistics.h"
#include "tools/bench/timed_command.h"
#include "tools/inspect/dump_file.h"
#include "tools/inspect/kernel.h"
#include "tools/inspect/scheduler_view.h"
#include "tools/inspect/testing/fake_kernel.h"
#include "tools/kernels/kernel_store.h"

namespace stasis::bench {
namespace {

namespace fs = std::filesystem;

constexpr double kMostSummarySeconds = 1;
constexpr double kMostDrgnRatio = 1;
constexpr uint64_t kTaskBytes = 9 << 10;  // what a task_struct has in a distribution's kernel
constexpr int kCgroups = 10;

struct Options {
  int runs = 5;
  int tasks = 1000;  // of the real guest, beside the kernel's own
  std::string dump;
  std::string vmlinux;
  std::string stasis;  // the binary
  bool synthetic_only = false;
};

struct Figure {
  Summary wall_ms;
  Summary cpu_ms;
};

double CpuMs() {
  timespec now = {};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec) * 1e-6;
}

// `work` in this process.
Figure Measure(int runs, const std::function<void()>& work) {
  std::vector<double> wall, cpu;
  for (int run = 0; run < runs; ++run) {
    const double cpu_begun = CpuMs();
    const absl::Time begun = MonotonicNow();
    work();
    wall.push_back(absl::ToDoubleMilliseconds(MonotonicNow() - begun));
    cpu.push_back(CpuMs() - cpu_begun);
  }
  return {Summarize(wall), Summarize(cpu)};
}

std::string Text(const Summary& ms) {
  return absl::StrFormat("%8.2f (%.2f to %.2f)", ms.median, ms.min, ms.max);
}

// A kernel whose tasks wait in the fair trees of all CPUs, in groups.
std::unique_ptr<FakeKernel> MakeKernel(int tasks, int cpus) {
  FakeRelease release{.eevdf = true, .task_padding = kTaskBytes};
  release.memory_bytes = (uint64_t{4} << 20) + uint64_t{static_cast<unsigned>(tasks)} * 11000 +
                         uint64_t{static_cast<unsigned>(cpus)} * 8192;
  auto kernel = std::make_unique<FakeKernel>(cpus, release);
  std::vector<uint64_t> cgroups;
  for (int i = 0; i < kCgroups; ++i) {
    cgroups.push_back(kernel->AddCgroup(absl::StrCat("group-", i), kernel->root_cgroup()));
  }
  const uint64_t mask = kernel->Allocate(1024);
  for (int word = 0; word < 16; ++word) kernel->Store<uint64_t>(mask + 8 * word, ~uint64_t{0});
  std::vector<std::vector<uint64_t>> queued(static_cast<size_t>(cpus));
  for (int i = 0; i < tasks; ++i) {
    const uint64_t task = kernel->AddTask(i + 1, absl::StrCat("task-", i));
    const int cpu = i % cpus;
    kernel->Set("task_struct", task, "on_rq", 1);
    kernel->Set("task_struct", task, "thread_info.cpu", static_cast<uint64_t>(cpu));
    kernel->Set("task_struct", task, "sched_info.last_queued", 1000 + static_cast<uint64_t>(i));
    kernel->Set("task_struct", task, "se.load.weight", 1 << 20);
    kernel->Set("task_struct", task, "cpus_ptr", FakeKernel::V(mask));
    kernel->MoveToCgroup(task, cgroups[static_cast<size_t>(i % kCgroups)]);
    queued[static_cast<size_t>(cpu)].push_back(kernel->Entity(task));
  }
  for (int cpu = 0; cpu < cpus; ++cpu) {
    const uint64_t group = kernel->AddGroup("group", queued[static_cast<size_t>(cpu)]);
    kernel->SetFairQueue(kernel->FairQueue(cpu), {group});
    kernel->Set("rq", kernel->Runqueue(cpu), "clock", 1'000'000'000);
  }
  kernel->Finish();
  return kernel;
}

bool MeasureSynthetic(const Options& options) {
  printf("one full view of a synthetic kernel (a task_struct of 9 KiB, all tasks queued), median of "
         "%d (smallest to largest), milliseconds\n",
         options.runs);
  printf("%6s %5s  %-26s %-26s %s\n", "tasks", "CPUs", "time", "CPU time", "microseconds a task");
  for (const int tasks : {10, 1000, 10000}) {
    for (const int cpus : {1, 8, 64}) {
      const std::unique_ptr<FakeKernel> image = MakeKernel(tasks, cpus);
      const auto kernel = Kernel::Open(image.get());
      if (!kernel.ok()) {
        fprintf(stderr, "%s\n", std::string(kernel.status().message()).c_str());
        return false;
      }
      size_t seen = 0, queued = 0;
      const Figure figure = Measure(options.runs, [&] {
        const SchedulerView view = ReadScheduler(**kernel);
        seen = view.tasks.size();
        queued = 0;
        for (const RunqueueView& rq : view.runqueues) queued += rq.queues.fair.size();
      });
      // The idle task is one more; each CPU has a group.
      if (seen != static_cast<size_t>(tasks) + 1 || queued != static_cast<size_t>(tasks + cpus)) {
        fprintf(stderr, "read %zu tasks and %zu entities of %d\n", seen, queued, tasks);
        return false;
      }
      printf("%6d %5d  %-26s %-26s %.2f\n", tasks, cpus, Text(figure.wall_ms).c_str(),
             Text(figure.cpu_ms).c_str(), figure.wall_ms.median * 1e3 / tasks);
      fflush(stdout);
    }
  }
  return true;
}

// A guest of 1 GiB with many tasks, dumped while it goes on.
absl::StatusOr<std::string> MakeDump(const Options& options, const std::string& directory) {
  const std::string script = absl::StrFormat(
      "for g in 0 1 2 3; do mkdir -p /sys/fs/cgroup/g$g; done\n"
      "i=0; while [ $i -lt %d ]; do sleep 1000 & echo $! > /sys/fs/cgroup/g$((i %% 4))/cgroup.procs; "
      "i=$((i + 1)); done\n"
      "for i in 1 2 3 4; do while :; do :; done & done\n"
      "sleep 2; /init dump",
      options.tasks);
  printf("\nbooting a guest of 1 GiB with %d tasks of its own\n", options.tasks);
  fflush(stdout);
  const auto run = RunTimed({options.stasis, "shell", "--kernel", "6.1", "--topology", "2c", "--memory",
                             "1G", "--dump", "fail", "--dump-dir", directory, "--exec", script});
  if (!run.ok()) return run.status();
  for (const auto& entry : fs::directory_iterator(directory)) {
    if (entry.path().extension() == ".vmcore") return entry.path().string();
  }
  return absl::InternalError(
      absl::StrCat("the guest left no dump (exit code ", run->exit_code, ")"));
}

absl::StatusOr<Figure> MeasureCommand(int runs, const std::vector<std::string>& argv,
                                      size_t* lines) {
  std::vector<double> wall, cpu;
  for (int run = 0; run < runs; ++run) {
    const auto command = RunTimed(argv);
    if (!command.ok()) return command.status();
    if (command->exit_code != 0) {
      return absl::InternalError(
          absl::StrCat(argv[0], " ended with exit code ", command->exit_code));
    }
    wall.push_back(absl::ToDoubleMilliseconds(command->wall));
    cpu.push_back(absl::ToDoubleMilliseconds(command->cpu));
    *lines = static_cast<size_t>(
        std::count(command->output.begin(), command->output.end(), '\n'));
  }
  return Figure{Summarize(wall), Summarize(cpu)};
}

absl::Status MeasureViewOf(const Options& options, const std::string& path) {
  const auto dump = DumpFile::Open(path);
  if (!dump.ok()) return dump.status();
  std::unique_ptr<Kernel> kernel;
  absl::Status opened;
  const Figure open = Measure(options.runs, [&] {
    auto result = Kernel::Open(dump->get());
    opened = result.status();
    if (result.ok()) kernel = *std::move(result);
  });
  if (!opened.ok()) return opened;
  size_t tasks = 0, cpus = 0;
  const Figure view = Measure(options.runs, [&] {
    const SchedulerView read = ReadScheduler(*kernel);
    tasks = read.tasks.size();
    cpus = read.runqueues.size();
  });
  printf("symbols and types, once        %s ms\n", Text(open.wall_ms).c_str());
  printf("one full view                  %s ms, CPU %s ms; %zu tasks, %zu CPUs\n",
         Text(view.wall_ms).c_str(), Text(view.cpu_ms).c_str(), tasks, cpus);
  return absl::OkStatus();
}

// 0, 1 (a goal is missed) or kExitError.
int MeasureDump(Options options) {
  std::string directory = fs::temp_directory_path().string() + "/stasis-inspect.XXXXXX";
  if (mkdtemp(directory.data()) == nullptr) return kExitError;
  const absl::Cleanup remove = [&] { fs::remove_all(directory); };
  if (options.dump.empty()) {
    const auto made = MakeDump(options, directory);
    if (!made.ok()) {
      fprintf(stderr, "no dump: %s\n", std::string(made.status().message()).c_str());
      return kExitError;
    }
    options.dump = *made;
  }
  printf("\n%s, %d MiB\n", fs::path(options.dump).filename().c_str(),
         static_cast<int>(fs::file_size(options.dump) >> 20));
  if (const absl::Status status = MeasureViewOf(options, options.dump); !status.ok()) {
    fprintf(stderr, "%s\n", std::string(status.message()).c_str());
    return kExitError;
  }
  size_t summary_lines = 0, our_lines = 0, drgn_lines = 0;
  const auto summary =
      MeasureCommand(options.runs, {options.stasis, "dump", "summary", options.dump}, &summary_lines);
  const auto ours =
      MeasureCommand(options.runs, {options.stasis, "dump", "tasks", options.dump}, &our_lines);
  if (!summary.ok() || !ours.ok()) {
    fprintf(stderr, "%s\n",
            std::string((summary.ok() ? ours : summary).status().message()).c_str());
    return kExitError;
  }
  printf("stasis dump summary            %s ms, CPU %s ms\n", Text(summary->wall_ms).c_str(),
         Text(summary->cpu_ms).c_str());
  printf("stasis dump tasks              %s ms, CPU %s ms; %zu lines\n",
         Text(ours->wall_ms).c_str(), Text(ours->cpu_ms).c_str(), our_lines);
  bool met = summary->wall_ms.median <= kMostSummarySeconds * 1e3;
  printf("goal: summary in at most %.0f s: %.3f s, %s\n", kMostSummarySeconds,
         summary->wall_ms.median / 1e3, met ? "met" : "MISSED");

  if (options.vmlinux.empty()) {
    const auto cache = CacheDirectory(ProcessEnvironment());
    const auto kernel = cache.ok() ? KernelStore(*cache).Resolve("6.1", ProcessEnvironment())
                                   : absl::StatusOr<ResolvedKernel>(cache.status());
    if (kernel.ok()) {
      options.vmlinux = (fs::path(kernel->image).parent_path() / "debug" / "vmlinux").string();
    }
  }
  if (!fs::exists(options.vmlinux)) {
    fprintf(stderr,
            "drgn needs debugging symbols: 'stasis kernel fetch 6.1 --debug', or --vmlinux FILE\n");
    return kExitError;
  }
  const auto theirs =
      MeasureCommand(options.runs, {"drgn", "-q", "-c", options.dump, "-s", options.vmlinux,
                                    "tools/drgn/tasks.py"},
                     &drgn_lines);
  if (!theirs.ok()) {
    fprintf(stderr, "%s; install python3-drgn\n", std::string(theirs.status().message()).c_str());
    return kExitError;
  }
  printf("drgn, the same table           %s ms, CPU %s ms; %zu lines\n",
         Text(theirs->wall_ms).c_str(), Text(theirs->cpu_ms).c_str(), drgn_lines);
  for (const auto& [name, figure] : {std::pair("tasks", *ours), std::pair("summary", *summary)}) {
    const double ratio = MedianRatio(figure.wall_ms, theirs->wall_ms).value_or(kMostDrgnRatio + 1);
    const bool faster = ratio < kMostDrgnRatio;
    met = met && faster;
    printf("goal: %s faster than drgn's table: ratio %.2f, %s\n", name, ratio,
           faster ? "met" : "MISSED");
  }
  return met ? 0 : 1;
}

int Main(int argc, char** argv) {
  Options options;
  CLI::App app("Reading a scheduler from memory, against drgn");
  app.add_option("--runs", options.runs, "Of each measurement")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--tasks", options.tasks, "Tasks of the guest that is dumped")
      ->check(CLI::Range(0, 30000))
      ->capture_default_str();
  app.add_option("--dump", options.dump, "Measures this dump instead of booting a guest");
  app.add_option("--vmlinux", options.vmlinux, "Debugging symbols of its kernel, for drgn");
  app.add_flag("--synthetic-only", options.synthetic_only, "No dump");
  CLI11_PARSE(app, argc, argv);
  if (const char* where = getenv("BUILD_WORKING_DIRECTORY"); where != nullptr) {
    for (std::string* path : {&options.dump, &options.vmlinux}) {
      if (!path->empty()) *path = (fs::path(where) / *path).string();
    }
  }
  if (!MeasureSynthetic(options)) return kExitError;
  if (options.synthetic_only) return 0;
  const absl::StatusOr<std::string> stasis = FindStasis();
  if (!stasis.ok()) return Fail(stasis.status());
  options.stasis = *stasis;
  return MeasureDump(options);
}

}  // namespace
}  // namespace stasis::bench

int main(int argc, char** argv) { return stasis::bench::Main(argc, argv); }
