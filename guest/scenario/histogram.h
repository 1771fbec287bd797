// Histogram: times in log-linear buckets, as workers count them and as the host reads them.
//
// 16 buckets for each power of two of nanoseconds: the bounds of a bucket are at most 1/16 apart,
// and what is below 16 ns has a bucket of its own. 2^37 ns (137 s) and more is counted in the last
// bucket.
#ifndef STASIS_GUEST_SCENARIO_HISTOGRAM_H_
#define STASIS_GUEST_SCENARIO_HISTOGRAM_H_

#include <bit>
#include <cstdint>
#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace stasis {

class Histogram {
 public:
  static constexpr int kSubBits = 4;
  static constexpr int kMaxBits = 37;
  static constexpr uint32_t kBuckets = ((kMaxBits - kSubBits + 1) << kSubBits);

  static constexpr uint32_t BucketOf(uint64_t ns) {
    if (ns < (1u << kSubBits)) return static_cast<uint32_t>(ns);
    const int exponent = std::bit_width(ns) - 1;
    if (exponent >= kMaxBits) return kBuckets - 1;
    const uint64_t sub = (ns >> (exponent - kSubBits)) & ((1u << kSubBits) - 1);
    return static_cast<uint32_t>((exponent - kSubBits + 1) << kSubBits) +
           static_cast<uint32_t>(sub);
  }
  // The least and the greatest time of a bucket (of the last one: UINT64_MAX).
  static uint64_t Low(uint32_t bucket);
  static uint64_t High(uint32_t bucket);

  void Add(uint32_t bucket, uint64_t count);
  void Merge(const Histogram& other);

  bool empty() const { return counts_.empty(); }
  uint64_t count() const;
  // The upper bound of the bucket in which the `quantile` (0..1) of all times lies, so that at
  // least that share was no longer; 0 without any. Too high by 1/16 at most, never too low.
  uint64_t Quantile(double quantile) const;

  const std::map<uint32_t, uint64_t>& counts() const { return counts_; }
  bool operator==(const Histogram&) const = default;

  // "bucket:count" of those that are not empty, separated by spaces. Error: InvalidArgument (the
  // text comes from a guest).
  std::string ToString() const;
  static absl::StatusOr<Histogram> Parse(absl::string_view text);

 private:
  std::map<uint32_t, uint64_t> counts_;
};

}  // namespace stasis

#endif  // STASIS_GUEST_SCENARIO_HISTOGRAM_H_
