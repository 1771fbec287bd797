// CgroupSpec: a cgroup of a scenario, as the file says it.
#ifndef STASIS_GUEST_SCENARIO_CGROUP_SPEC_H_
#define STASIS_GUEST_SCENARIO_CGROUP_SPEC_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "guest/json/fields.h"
#include "guest/scenario/work_spec.h"

namespace stasis {

// cpu.max: `quota` of CPU time in each `period`.
struct CpuMax {
  absl::Duration quota;
  absl::Duration period;

  template <typename V, typename Self>
  static void VisitFields(V& v, Self& self) {
    v("quota_ns", self.quota);
    v("period_ns", self.period);
  }
};

struct CgroupSpec {
  std::string name;                // "a", or "a/b" below "a", which stands before it
  std::string cpus;                // ResolveCpus expression; empty: its parent's
  std::optional<uint32_t> weight;  // cpu.weight, 1..10000
  std::optional<CpuMax> max;
  std::optional<uint64_t> memory_max_bytes;
  bool at_start = true;  // false: a step adds it
  std::vector<WorkSpec> work;

  template <typename V, typename Self>
  static void VisitFields(V& v, Self& self) {
    v("name", self.name);
    v("cpus", self.cpus);
    v("weight", self.weight);
    v("max", self.max);
    v("memory_max_bytes", self.memory_max_bytes);
    v.Optional("at_start", self.at_start);
    v("work", self.work);
  }
};

// "a" for "a/b"; "" for "a".
std::string ParentOf(const std::string& cgroup);
// Whether `cgroup` is `ancestor` or below it.
bool IsWithin(const std::string& cgroup, const std::string& ancestor);

}  // namespace stasis

#endif  // STASIS_GUEST_SCENARIO_CGROUP_SPEC_H_
