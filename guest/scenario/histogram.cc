#include "guest/scenario/histogram.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace stasis {
namespace {

// Sums stay what they are when a guest sends absurd counts.
uint64_t SaturatingSum(uint64_t a, uint64_t b) { return a + std::min(b, UINT64_MAX - a); }

}  // namespace

uint64_t Histogram::Low(uint32_t bucket) {
  if (bucket < (1u << kSubBits)) return bucket;
  const uint32_t shift = (bucket >> kSubBits) - 1;
  const uint64_t sub = bucket & ((1u << kSubBits) - 1);
  return ((uint64_t{1} << kSubBits) + sub) << shift;
}

uint64_t Histogram::High(uint32_t bucket) {
  return bucket >= kBuckets - 1 ? UINT64_MAX : Low(bucket + 1) - 1;
}

void Histogram::Add(uint32_t bucket, uint64_t count) {
  if (count == 0) return;
  uint64_t& sum = counts_[std::min(bucket, kBuckets - 1)];
  sum = SaturatingSum(sum, count);
}

void Histogram::Merge(const Histogram& other) {
  for (const auto& [bucket, count] : other.counts_) Add(bucket, count);
}

uint64_t Histogram::count() const {
  uint64_t sum = 0;
  for (const auto& [bucket, count] : counts_) sum = SaturatingSum(sum, count);
  return sum;
}

uint64_t Histogram::Quantile(double quantile) const {
  if (counts_.empty()) return 0;
  const double wanted = std::ceil(std::clamp(quantile, 0.0, 1.0) * static_cast<double>(count()));
  uint64_t seen = 0;
  for (const auto& [bucket, count] : counts_) {
    seen = SaturatingSum(seen, count);
    if (static_cast<double>(seen) >= wanted) return High(bucket);
  }
  return High(counts_.rbegin()->first);
}

std::string Histogram::ToString() const {
  std::string text;
  for (const auto& [bucket, count] : counts_) {
    absl::StrAppend(&text, text.empty() ? "" : " ", bucket, ":", count);
  }
  return text;
}

absl::StatusOr<Histogram> Histogram::Parse(absl::string_view text) {
  Histogram histogram;
  for (absl::string_view entry : absl::StrSplit(text, ' ', absl::SkipEmpty())) {
    const std::pair<absl::string_view, absl::string_view> parts =
        absl::StrSplit(entry, absl::MaxSplits(':', 1));
    uint32_t bucket;
    uint64_t count;
    if (!absl::SimpleAtoi(parts.first, &bucket) || bucket >= kBuckets ||
        !absl::SimpleAtoi(parts.second, &count) || count == 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("histogram: expected BUCKET:COUNT, found '", entry.substr(0, 40), "'"));
    }
    histogram.Add(bucket, count);
  }
  return histogram;
}

}  // namespace stasis
