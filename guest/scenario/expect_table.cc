#include "guest/scenario/expect_table.h"

namespace stasis {
namespace {

constexpr double kMost = 1e15;

const ExpectationInfo kExpectations[] = {
    {"max_gap", &ExpectSpec::max_gap, 0, 0, true,
     "The longest time for which any worker wanted the CPU and did not get it. Waiting for a "
     "partner or a device, sleeping and being frozen is no gap; one that is still going on at the "
     "end counts. Not written: the default limit, which is scaled by the calibration run on an "
     "emulated host.",
     "max_gap = \"2s\""},
    {"max_spread", &ExpectSpec::max_spread, 0, 1, true,
     "(most - least) / most of the CPU time of the workers of one entry of `work`. With steps: in "
     "each phase of at least a second in which nothing changed.",
     "max_spread = 0.25"},
    {"isolation", &ExpectSpec::isolation, 0, 0, false,
     "No worker saw itself on a CPU outside of those that its cgroup, its affinity and the CPUs "
     "that are online left it at that time.",
     "isolation = true"},
    {"min_iterations", &ExpectSpec::min_iterations, 1, kMost, true,
     "Every worker made that many; one that steps let run for a part of the time only, in "
     "proportion.",
     "min_iterations = 1000"},
    {"min_iteration_rate", &ExpectSpec::min_iteration_rate, 0, kMost, true,
     "Every worker made that many a second, on average over its time.",
     "min_iteration_rate = 50.0"},
    {"max_migrations", &ExpectSpec::max_migrations, 0, kMost, false,
     "No worker saw itself on another CPU than before more often than that.",
     "max_migrations = 100"},
    {"max_migration_rate", &ExpectSpec::max_migration_rate, 0, kMost, false,
     "The same for each second of its time.", "max_migration_rate = 20.0"},
    {"max_variation", &ExpectSpec::max_variation, 0, 100, true,
     "How much the throughput of a work group changes over time: standard deviation / mean of its "
     "iterations in windows of at least half a second, within phases in which nothing changed.",
     "max_variation = 0.3"},
    {"max_stall", &ExpectSpec::max_stall, 0, 0, true,
     "The longest time in which no worker of a work group got anything done while at least one "
     "wanted the CPU; looked at every 100 ms.",
     "max_stall = \"1s\""},
    {"max_imbalance", &ExpectSpec::max_imbalance, 0, 1000, false,
     "How many more runnable workers one CPU has than another one on which some of them may run, "
     "on average over the run; looked at every 100 ms. 1 cannot always be avoided.",
     "max_imbalance = 1.5"},
    {"wakeup", &ExpectSpec::wakeup, 0, 0, true,
     "Percentiles of the time from a wake-up (by a partner, a timer or the end of a sleep) until "
     "the worker ran: p50, p90, p99, p999, longest; over all workers of a cgroup (with those below "
     "it) or of work with a name.",
     "wakeup = [{ of = \"web\", p50 = \"1ms\", p99 = \"20ms\" }]"},
    {"response", &ExpectSpec::response, 0, 0, true,
     "The same for the time from asking for something (a request, a mutex, a write, a child) until "
     "it was done.",
     "response = [{ of = \"web\", p99 = \"50ms\" }]"},
    {"ratio", &ExpectSpec::ratio, 0, 0, true,
     "How many times as much `of` gets as `to`, by \"run_time\" (the default) or \"iterations\", "
     "within `tolerance` (0.25 of it by default) to either side. `phase` = n looks at the time "
     "after n steps only.",
     "ratio = [{ of = \"heavy\", to = \"light\", is = 4.0, tolerance = 0.3 }]"},
    {"scx_events", &ExpectSpec::scx_events, 0, 0, false,
     "Counters of /sys/kernel/sched_ext/root/events (Linux 6.15 and later; inconclusive where "
     "there are none): how much each one may grow while the scenario runs.",
     "scx_events = [{ name = \"SCX_EV_DISPATCH_LOCAL_DSQ_OFFLINE\", max = 0 }]"},
};

}  // namespace

absl::Span<const ExpectationInfo> Expectations() { return kExpectations; }

const ExpectationInfo* ExpectationByName(absl::string_view name) {
  for (const ExpectationInfo& info : kExpectations) {
    if (name == info.name) return &info;
  }
  return nullptr;
}

bool IsSet(const ExpectSpec& expect, const ExpectationInfo& info) {
  return std::visit(
      [&expect](auto member) {
        const auto& value = expect.*member;
        if constexpr (requires { value.has_value(); }) {
          return value.has_value();
        } else if constexpr (requires { value.empty(); }) {
          return !value.empty();
        } else {
          return value;
        }
      },
      info.member);
}

absl::Span<const fields::EnumName<Quantity>> EnumNames(Quantity) {
  static constexpr fields::EnumName<Quantity> kNames[] = {
      {Quantity::kRunTime, "run_time"},
      {Quantity::kIterations, "iterations"},
  };
  return kNames;
}

}  // namespace stasis
