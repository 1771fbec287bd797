// CpuSet: a set of logical CPU numbers in the kernel's list format ("0-3,6").
#ifndef STASIS_GUEST_SCENARIO_CPU_SET_H_
#define STASIS_GUEST_SCENARIO_CPU_SET_H_

#include <bitset>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace stasis {

// A value type; numbers of kMaxCpus and above are refused by Parse and ignored by Add.
class CpuSet {
 public:
  static constexpr uint32_t kMaxCpus = 1024;  // cpu_set_t's size

  // Takes what the kernel prints ("0-3,6", also "" and a trailing newline).
  // Errors: InvalidArgument naming the part that is no number or range.
  static absl::StatusOr<CpuSet> Parse(absl::string_view list);
  static CpuSet Of(const std::vector<uint32_t>& cpus);

  std::string ToString() const;
  std::vector<uint32_t> Cpus() const;

  void Add(uint32_t cpu) {
    if (cpu < kMaxCpus) bits_.set(cpu);
  }
  bool Contains(uint32_t cpu) const { return cpu < kMaxCpus && bits_.test(cpu); }
  bool empty() const { return bits_.none(); }
  uint32_t size() const { return static_cast<uint32_t>(bits_.count()); }

  bool operator==(const CpuSet& other) const { return bits_ == other.bits_; }
  CpuSet operator&(const CpuSet& other) const { return CpuSet(bits_ & other.bits_); }
  CpuSet operator|(const CpuSet& other) const { return CpuSet(bits_ | other.bits_); }
  CpuSet Without(const CpuSet& other) const { return CpuSet(bits_ & ~other.bits_); }

  CpuSet() = default;

 private:
  explicit CpuSet(const std::bitset<kMaxCpus>& bits) : bits_(bits) {}
  std::bitset<kMaxCpus> bits_;
};

// What topology-relative CPU names are resolved against: only CPUs that are online.
struct CpuGroups {
  CpuSet online;
  std::vector<CpuSet> llcs;   // one per last-level cache, by lowest CPU
  std::vector<CpuSet> nodes;  // index = NUMA node; empty for a node without CPUs
};

// Resolves a comma-separated list of "0-3", "6", "half:i", "llc:i", "node:i", "all" ("" is "all").
// half:0 is the lower-numbered half of the online CPUs (the larger one when their number is odd).
// Errors: InvalidArgument for bad syntax, FailedPrecondition for a part that this machine lacks
// (saying what it has).
absl::StatusOr<CpuSet> ResolveCpus(absl::string_view expression, const CpuGroups& groups);

// The syntax check of ResolveCpus alone, for the parser on the host.
absl::Status CheckCpuExpression(absl::string_view expression);

}  // namespace stasis

#endif  // STASIS_GUEST_SCENARIO_CPU_SET_H_
