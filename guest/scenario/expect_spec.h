// ExpectSpec: what must hold at the end of a scenario (judge.h says exactly what each one means).
#ifndef STASIS_GUEST_SCENARIO_EXPECT_SPEC_H_
#define STASIS_GUEST_SCENARIO_EXPECT_SPEC_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "guest/json/fields.h"

namespace stasis {

// Percentiles of the latencies of some workers together.
struct LatencyExpect {
  std::string of;  // a cgroup (with all below it) or work
  std::optional<absl::Duration> p50, p90, p99, p999, longest;

  template <typename V, typename Self>
  static void VisitFields(V& v, Self& self) {
    v("of", self.of);
    v("p50_ns", self.p50);
    v("p90_ns", self.p90);
    v("p99_ns", self.p99);
    v("p999_ns", self.p999);
    v("longest_ns", self.longest);
  }
};

enum class Quantity { kRunTime, kIterations };
absl::Span<const fields::EnumName<Quantity>> EnumNames(Quantity);

// How much more `of` gets than `to`.
struct RatioExpect {
  std::string of, to;  // cgroups (with all below them) or work
  Quantity by = Quantity::kRunTime;
  double is = 1;
  double tolerance = 0.25;  // share of `is` that is allowed to either side
  // The time after this many steps, without the transition; absent: the whole run.
  std::optional<uint32_t> phase;

  template <typename V, typename Self>
  static void VisitFields(V& v, Self& self) {
    v("of", self.of);
    v("to", self.to);
    v("by", self.by);
    v("is", self.is);
    v("tolerance", self.tolerance);
    v("phase", self.phase);
  }
};

struct ScxEventExpect {
  std::string name;  // "SCX_EV_SELECT_CPU_FALLBACK"
  uint64_t max = 0;

  template <typename V, typename Self>
  static void VisitFields(V& v, Self& self) {
    v("name", self.name);
    v("max", self.max);
  }
};

// Which keys there are, what they mean and how they are read: the table in expect_table.cc.
struct ExpectSpec {
  std::optional<absl::Duration> max_gap;
  std::optional<double> max_spread;  // 0..1
  bool isolation = false;
  std::optional<uint64_t> min_iterations;
  std::optional<double> min_iteration_rate;  // per second
  std::optional<uint64_t> max_migrations;
  std::optional<double> max_migration_rate;  // per second
  std::optional<double> max_variation;
  std::optional<absl::Duration> max_stall;
  std::optional<double> max_imbalance;
  std::vector<LatencyExpect> wakeup;
  std::vector<LatencyExpect> response;
  std::vector<RatioExpect> ratio;
  std::vector<ScxEventExpect> scx_events;
  // The scenario is a demonstration of a failure: the expectation of this name ("max_gap", ...)
  // must not hold, or the scheduler must end in this way (scenario/scheduler_judge.h).
  std::optional<std::string> should_fail;

  template <typename V, typename Self>
  static void VisitFields(V& v, Self& self) {
    v("max_gap_ns", self.max_gap);
    v("max_spread", self.max_spread);
    v("isolation", self.isolation);
    v("min_iterations", self.min_iterations);
    v("min_iteration_rate", self.min_iteration_rate);
    v("max_migrations", self.max_migrations);
    v("max_migration_rate", self.max_migration_rate);
    v("max_variation", self.max_variation);
    v("max_stall_ns", self.max_stall);
    v("max_imbalance", self.max_imbalance);
    v.Optional("wakeup", self.wakeup);
    v.Optional("response", self.response);
    v.Optional("ratio", self.ratio);
    v.Optional("scx_events", self.scx_events);
    v("should_fail", self.should_fail);
  }
};

}  // namespace stasis

#endif  // STASIS_GUEST_SCENARIO_EXPECT_SPEC_H_
