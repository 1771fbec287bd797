#include "guest/scenario/judge_figures.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace stasis::judge {
namespace {

constexpr absl::Duration kShortestSpread = absl::Seconds(1);
constexpr uint64_t kShortestWindowNs = 500000000;
constexpr size_t kFewestWindows = 3;

const WorkerMeasurement* WorkerOf(const PhaseFigures& figures, const Measurements& measurements) {
  if (figures.index >= measurements.workers.size()) return nullptr;
  return &measurements.workers[figures.index];
}

absl::Duration LengthOf(const PhaseMeasurement& phase) {
  return phase.end_ns > phase.start_ns ? Ns(phase.end_ns - phase.start_ns) : absl::ZeroDuration();
}

std::string WhenOf(const PhaseMeasurement& phase, const Measurements& measurements) {
  if (measurements.phases.size() < 2) return "";
  return absl::StrCat(" after ", phase.steps, " steps");
}

// An outcome that fails with nothing to show for it.
Outcome Nothing(const char* name, std::string limit) {
  return {.name = name, .limit = std::move(limit), .measured = "nothing"};
}

bool MeansWorker(const std::string& of, const WorkerMeasurement& worker, const Scenario& scenario) {
  for (const CgroupSpec& cgroup : scenario.cgroups) {
    if (cgroup.name != worker.cgroup || worker.work >= cgroup.work.size()) continue;
    return Means(of, cgroup.name, cgroup.work[worker.work]);
  }
  return false;
}

double PerSecond(uint64_t count, absl::Duration time) {
  const double seconds = absl::ToDoubleSeconds(time);
  return seconds > 0 ? static_cast<double>(count) / seconds : 0;
}

}  // namespace

std::string Readable(absl::Duration duration) {
  const double seconds = absl::ToDoubleSeconds(duration);
  if (seconds >= 1) return absl::StrFormat("%.2fs", seconds);
  if (seconds >= 1e-3) return absl::StrFormat("%.3gms", seconds * 1e3);
  return absl::StrFormat("%.3gus", seconds * 1e6);
}

absl::Duration Ns(uint64_t ns) {
  return absl::Nanoseconds(static_cast<int64_t>(std::min<uint64_t>(ns, INT64_MAX)));
}

std::string NameOf(const WorkerMeasurement& worker) {
  return absl::StrCat("worker ", worker.index, " (", worker.cgroup, ", ", worker.kind, ", pid ",
                      worker.pid, ")");
}

absl::Duration LifeOf(const WorkerMeasurement& worker, const Measurements& measurements) {
  const uint64_t end = worker.stop_ns != 0 ? worker.stop_ns : measurements.end_ns;
  const uint64_t start = std::max(worker.start_ns, measurements.start_ns) + worker.frozen_ns;
  return end > start ? Ns(end - start) : absl::ZeroDuration();
}

Outcome Gap(absl::Duration limit, const Measurements& measurements) {
  Outcome outcome = Nothing("max_gap", Readable(limit));
  const WorkerMeasurement* worst = nullptr;
  for (const WorkerMeasurement& worker : measurements.workers) {
    if (worst == nullptr || worker.max_gap_ns > worst->max_gap_ns) worst = &worker;
  }
  if (worst == nullptr) return outcome;
  const uint64_t began = worst->gap_at_ns - std::min(worst->gap_at_ns, measurements.start_ns);
  outcome.measured = Readable(Ns(worst->max_gap_ns));
  outcome.ok = Ns(worst->max_gap_ns) <= limit;
  outcome.detail =
      absl::StrCat(NameOf(*worst), worst->gap_unfinished ? " still waits" : " waited", " on CPU ",
                   worst->gap_cpu, " from ", Readable(Ns(began)), " into the run");
  return outcome;
}

Outcome Spread(double limit, const Measurements& measurements) {
  struct Range {
    const PhaseFigures* least = nullptr;
    const PhaseFigures* most = nullptr;
  };
  Outcome outcome = Nothing("max_spread", absl::StrFormat("%.3g", limit));
  double worst = -1;
  for (const PhaseMeasurement& phase : measurements.phases) {
    if (measurements.phases.size() > 1 && LengthOf(phase) < kShortestSpread) continue;
    std::map<std::tuple<std::string, uint32_t, std::string>, Range> groups;
    for (const PhaseFigures& figures : phase.workers) {
      const WorkerMeasurement* worker = WorkerOf(figures, measurements);
      if (worker == nullptr || figures.frozen) continue;
      Range& range = groups[{worker->cgroup, worker->work, worker->role}];
      if (range.least == nullptr || figures.run_ns < range.least->run_ns) range.least = &figures;
      if (range.most == nullptr || figures.run_ns > range.most->run_ns) range.most = &figures;
    }
    for (const auto& [key, range] : groups) {
      // A group in which nobody ran at all is no fair one.
      const double most = static_cast<double>(range.most->run_ns);
      const double spread =
          most == 0 ? 1 : (most - static_cast<double>(range.least->run_ns)) / most;
      if (spread <= worst) continue;
      worst = spread;
      outcome.measured = absl::StrFormat("%.3g", spread);
      outcome.detail =
          absl::StrCat("cgroup ", std::get<0>(key), WhenOf(phase, measurements), ": worker ",
                       range.least->index, " ran ", Readable(Ns(range.least->run_ns)), ", worker ",
                       range.most->index, " ", Readable(Ns(range.most->run_ns)));
    }
  }
  outcome.ok = worst >= 0 && worst <= limit;
  return outcome;
}

Outcome Isolation(const Measurements& measurements) {
  Outcome outcome = Nothing("isolation", "inside its CPUs");
  std::map<uint32_t, bool> outside;
  for (const PhaseMeasurement& phase : measurements.phases) {
    for (const PhaseFigures& figures : phase.workers) {
      const WorkerMeasurement* worker = WorkerOf(figures, measurements);
      if (worker == nullptr) continue;
      const CpuSet stray = figures.cpus_used.Without(figures.cpus_allowed);
      outside[figures.index] |= !stray.empty();
      if (stray.empty() || !outcome.detail.empty()) continue;
      outcome.detail = absl::StrCat(NameOf(*worker), " ran on CPU ", stray.ToString(),
                                    WhenOf(phase, measurements), ", allowed are ",
                                    figures.cpus_allowed.ToString());
    }
  }
  const size_t strays = static_cast<size_t>(std::count_if(
      outside.begin(), outside.end(), [](const auto& entry) { return entry.second; }));
  outcome.measured = absl::StrCat(strays, " of ", outside.size(), " workers outside");
  outcome.ok = strays == 0 && !outside.empty();
  return outcome;
}

Outcome Iterations(uint64_t limit, const Scenario& scenario, const Measurements& measurements) {
  Outcome outcome = Nothing("min_iterations", absl::StrCat(limit));
  double least = -1;
  bool all_ok = true;
  for (const WorkerMeasurement& worker : measurements.workers) {
    const double share = std::clamp(
        absl::FDivDuration(LifeOf(worker, measurements), scenario.duration), 0.0, 1.0);
    // Rounded down: a worker of a moment need not have made one.
    const uint64_t need =
        share >= 1 ? limit : static_cast<uint64_t>(static_cast<double>(limit) * share);
    if (worker.iterations < need) all_ok = false;
    if (need == 0) continue;
    const double made = static_cast<double>(worker.iterations) / static_cast<double>(need);
    if (least >= 0 && made >= least) continue;
    least = made;
    outcome.measured = absl::StrCat(worker.iterations);
    outcome.detail = absl::StrCat(NameOf(worker), " made the fewest");
    if (need != limit) {
      absl::StrAppend(&outcome.detail, ", ", need, " are its share for ",
                      Readable(LifeOf(worker, measurements)));
    }
  }
  outcome.ok = least >= 0 && all_ok;
  return outcome;
}

Outcome IterationRate(double limit, const Measurements& measurements) {
  Outcome outcome = Nothing("min_iteration_rate", absl::StrFormat("%.4g/s", limit));
  double least = -1;
  for (const WorkerMeasurement& worker : measurements.workers) {
    const absl::Duration life = LifeOf(worker, measurements);
    const double rate = PerSecond(worker.iterations, life);
    if (life == absl::ZeroDuration() || (least >= 0 && rate >= least)) continue;
    least = rate;
    outcome.measured = absl::StrFormat("%.4g/s", rate);
    outcome.detail = absl::StrCat(NameOf(worker), " was the slowest");
  }
  outcome.ok = least >= limit;
  return outcome;
}

Outcome Migrations(uint64_t limit, const Measurements& measurements) {
  Outcome outcome = Nothing("max_migrations", absl::StrCat(limit));
  const WorkerMeasurement* worst = nullptr;
  for (const WorkerMeasurement& worker : measurements.workers) {
    if (worst == nullptr || worker.migrations > worst->migrations) worst = &worker;
  }
  if (worst == nullptr) return outcome;
  outcome.measured = absl::StrCat(worst->migrations);
  outcome.ok = worst->migrations <= limit;
  outcome.detail = absl::StrCat(NameOf(*worst), " moved most often");
  return outcome;
}

Outcome MigrationRate(double limit, const Measurements& measurements) {
  Outcome outcome = Nothing("max_migration_rate", absl::StrFormat("%.4g/s", limit));
  double most = -1;
  for (const WorkerMeasurement& worker : measurements.workers) {
    const double rate = PerSecond(worker.migrations, LifeOf(worker, measurements));
    if (rate <= most) continue;
    most = rate;
    outcome.measured = absl::StrFormat("%.4g/s", rate);
    outcome.detail = absl::StrCat(NameOf(worker), " moved most often");
  }
  outcome.ok = most >= 0 && most <= limit;
  return outcome;
}

Outcome Variation(double limit, const Measurements& measurements) {
  Outcome outcome = Nothing("max_variation", absl::StrFormat("%.3g", limit));
  double worst = -1;
  const std::vector<uint64_t>& marks = measurements.marks_ns;
  for (const PhaseMeasurement& phase : measurements.phases) {
    // Groups that ran through all of the phase.
    std::map<std::pair<std::string, uint32_t>, bool> runs;
    for (const PhaseFigures& figures : phase.workers) {
      const WorkerMeasurement* worker = WorkerOf(figures, measurements);
      if (worker == nullptr) continue;
      runs.try_emplace({worker->cgroup, worker->work}, true).first->second &= !figures.frozen;
    }
    for (const GroupMeasurement& group : measurements.groups) {
      auto running = runs.find({group.cgroup, group.work});
      if (running == runs.end() || !running->second) continue;
      if (group.iterations.size() != marks.size()) continue;
      double sum = 0, squares = 0, low = 0, high = 0;
      size_t windows = 0, from = 0;
      bool open = false;
      for (size_t i = 0; i < marks.size(); ++i) {
        if (marks[i] < phase.start_ns || marks[i] > phase.end_ns) continue;
        if (!open) {
          open = true;
          from = i;
          continue;
        }
        if (marks[i] < marks[from] || marks[i] - marks[from] < kShortestWindowNs) continue;
        const uint64_t done =
            group.iterations[i] - std::min(group.iterations[i], group.iterations[from]);
        const double rate = PerSecond(done, Ns(marks[i] - marks[from]));
        low = windows == 0 ? rate : std::min(low, rate);
        high = std::max(high, rate);
        sum += rate;
        squares += rate * rate;
        ++windows;
        from = i;
      }
      if (windows < kFewestWindows) continue;
      const double mean = sum / static_cast<double>(windows);
      const double variance = squares / static_cast<double>(windows) - mean * mean;
      const double variation = mean > 0 ? std::sqrt(std::max(variance, 0.0)) / mean : 1;
      if (variation <= worst) continue;
      worst = variation;
      outcome.measured = absl::StrFormat("%.3g", variation);
      outcome.detail = absl::StrFormat("work %d of cgroup %s%s: %.4g to %.4g iterations/s in %d "
                                       "windows",
                                       group.work, group.cgroup, WhenOf(phase, measurements), low,
                                       high, windows);
    }
  }
  if (worst < 0) outcome.detail = "no work ran for three windows of half a second";
  outcome.ok = worst >= 0 && worst <= limit;
  return outcome;
}

Outcome Stall(absl::Duration limit, const Measurements& measurements) {
  Outcome outcome = Nothing("max_stall", Readable(limit));
  const GroupMeasurement* worst = nullptr;
  for (const GroupMeasurement& group : measurements.groups) {
    if (worst == nullptr || group.stall_ns > worst->stall_ns) worst = &group;
  }
  if (worst == nullptr) return outcome;
  const uint64_t began = worst->stall_at_ns - std::min(worst->stall_at_ns, measurements.start_ns);
  outcome.measured = Readable(Ns(worst->stall_ns));
  outcome.ok = Ns(worst->stall_ns) <= limit;
  if (worst->stall_ns != 0) {
    outcome.detail = absl::StrCat("work ", worst->work, " of cgroup ", worst->cgroup, " from ",
                                  Readable(Ns(began)), " into the run");
  }
  return outcome;
}

Outcome Imbalance(double limit, const Measurements& measurements) {
  Outcome outcome = Nothing("max_imbalance", absl::StrFormat("%.3g", limit));
  if (!measurements.imbalance.has_value() || measurements.imbalance->samples == 0) return outcome;
  const ImbalanceMeasurement& imbalance = *measurements.imbalance;
  outcome.measured = absl::StrFormat("%.3g", imbalance.mean);
  outcome.ok = imbalance.mean <= limit;
  if (imbalance.most != 0) {
    const uint64_t at =
        imbalance.most_at_ns - std::min(imbalance.most_at_ns, measurements.start_ns);
    outcome.detail = absl::StrCat("at most ", imbalance.most, " more on CPU ", imbalance.busy_cpu,
                                  " than on CPU ", imbalance.free_cpu, ", ", Readable(Ns(at)),
                                  " into the run");
  }
  return outcome;
}

void Latency(const char* name, const LatencyExpect& entry, const Scenario& scenario,
             const Measurements& measurements, std::vector<Outcome>* outcomes) {
  Histogram all;
  const bool wakeup = absl::string_view(name) == "wakeup";
  for (const WorkerMeasurement& worker : measurements.workers) {
    if (!MeansWorker(entry.of, worker, scenario)) continue;
    all.Merge(wakeup ? worker.wakeup : worker.response);
  }
  struct Point {
    const char* name;
    double quantile;
    const std::optional<absl::Duration>& limit;
  };
  for (const Point& point : {Point{"p50", 0.5, entry.p50}, Point{"p90", 0.9, entry.p90},
                             Point{"p99", 0.99, entry.p99}, Point{"p99.9", 0.999, entry.p999},
                             Point{"longest", 1, entry.longest}}) {
    if (!point.limit.has_value()) continue;
    Outcome outcome = Nothing(name, Readable(*point.limit));
    outcome.of = absl::StrCat(entry.of, " ", point.name);
    if (all.empty()) {
      outcome.detail = "no worker of it was ever waiting for that";
    } else {
      const absl::Duration latency = Ns(all.Quantile(point.quantile));
      outcome.measured = Readable(latency);
      outcome.ok = latency <= *point.limit;
      outcome.detail = absl::StrCat(all.count(), " times");
    }
    outcomes->push_back(std::move(outcome));
  }
}

Outcome Ratio(const RatioExpect& entry, const Scenario& scenario,
              const Measurements& measurements) {
  Outcome outcome =
      Nothing("ratio", absl::StrFormat("%.4g to %.4g", entry.is * (1 - entry.tolerance),
                                       entry.is * (1 + entry.tolerance)));
  outcome.of = absl::StrCat(entry.of, " to ", entry.to);
  const bool by_time = entry.by == Quantity::kRunTime;
  uint64_t of = 0, to = 0;
  const auto add = [&](const WorkerMeasurement& worker, uint64_t run_ns, uint64_t iterations) {
    const uint64_t amount = by_time ? run_ns : iterations;
    if (MeansWorker(entry.of, worker, scenario)) of += amount;
    if (MeansWorker(entry.to, worker, scenario)) to += amount;
  };
  if (!entry.phase.has_value()) {
    for (const WorkerMeasurement& worker : measurements.workers) {
      add(worker, worker.run_ns, worker.iterations);
    }
  }
  for (const PhaseMeasurement& phase : measurements.phases) {
    if (entry.phase != phase.steps) continue;
    for (const PhaseFigures& figures : phase.workers) {
      const WorkerMeasurement* worker = WorkerOf(figures, measurements);
      if (worker != nullptr) add(*worker, figures.run_ns, figures.iterations);
    }
  }
  const auto amount = [by_time](uint64_t value) {
    return by_time ? Readable(Ns(value)) : absl::StrCat(value, " iterations");
  };
  outcome.detail = absl::StrCat(amount(of), " to ", amount(to));
  if (entry.phase.has_value()) absl::StrAppend(&outcome.detail, " after ", *entry.phase, " steps");
  if (to == 0) return outcome;
  const double ratio = static_cast<double>(of) / static_cast<double>(to);
  outcome.measured = absl::StrFormat("%.4g", ratio);
  outcome.ok = std::abs(ratio - entry.is) <= entry.is * entry.tolerance;
  return outcome;
}

Outcome ScxEvent(const ScxEventExpect& entry, const Measurements& measurements) {
  Outcome outcome = Nothing("scx_events", absl::StrCat(entry.max));
  outcome.of = entry.name;
  const auto& events = measurements.scx_events;
  auto found = events.has_value() ? events->find(entry.name)
                                  : std::map<std::string, uint64_t>::const_iterator();
  if (!events.has_value() || found == events->end()) {
    outcome.missing = true;
    outcome.detail =
        events.has_value()
            ? "the kernel has no counter of that name in /sys/kernel/sched_ext/root/events"
            : "the kernel does not provide it: no /sys/kernel/sched_ext/root/events (Linux 6.15, "
              "with a scheduler attached)";
    return outcome;
  }
  outcome.measured = absl::StrCat(found->second);
  outcome.ok = found->second <= entry.max;
  return outcome;
}

}  // namespace stasis::judge
