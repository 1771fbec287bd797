#include "tools/bench/memory_use.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "tools/harness/files.h"

namespace stasis::bench {
namespace {

constexpr uint64_t kHeldBack = 2 << 20;  // legacy holes below 1 MiB, rounding
constexpr uint64_t kMostSmaps = 16 << 20;

absl::Status BadLine(absl::string_view line) {
  return absl::InvalidArgumentError(absl::StrCat("smaps: cannot read '", line, "'"));
}

// "Rss:                 132 kB" → bytes.
bool ParseKilobytes(absl::string_view value, uint64_t* bytes) {
  value = absl::StripAsciiWhitespace(value);
  if (!absl::ConsumeSuffix(&value, " kB")) return false;
  if (!absl::SimpleAtoi(value, bytes)) return false;
  *bytes *= 1024;
  return true;
}

// "7f00-8000 rw-p 00000000 00:00 0   [heap]".
bool ParseHeader(absl::string_view line, MemoryMapping* mapping) {
  const std::vector<absl::string_view> words = absl::StrSplit(line, ' ', absl::SkipEmpty());
  if (words.size() < 5) return false;
  const std::pair<absl::string_view, absl::string_view> range =
      absl::StrSplit(words[0], absl::MaxSplits('-', 1));
  uint64_t begin = 0;
  uint64_t end = 0;
  if (!absl::SimpleHexAtoi(range.first, &begin) || !absl::SimpleHexAtoi(range.second, &end) ||
      end <= begin) {
    return false;
  }
  mapping->size = end - begin;
  // A name may hold spaces: everything from the sixth word on.
  if (words.size() > 5) {
    mapping->name = std::string(line.substr(words[5].data() - line.data()));
  }
  return true;
}

}  // namespace

absl::StatusOr<std::vector<MemoryMapping>> ParseSmaps(absl::string_view text) {
  std::vector<MemoryMapping> mappings;
  for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    const absl::string_view first = line.substr(0, line.find(' '));
    if (!absl::EndsWith(first, ":")) {
      MemoryMapping mapping;
      if (!ParseHeader(line, &mapping)) return BadLine(line);
      mappings.push_back(std::move(mapping));
      continue;
    }
    if (first != "Rss:" && first != "Pss:") continue;
    if (mappings.empty()) return BadLine(line);
    uint64_t* field = first == "Rss:" ? &mappings.back().rss : &mappings.back().pss;
    if (!ParseKilobytes(line.substr(first.size()), field)) return BadLine(line);
  }
  return mappings;
}

absl::StatusOr<MemoryUse> SplitMemory(const std::vector<MemoryMapping>& mappings,
                                      uint64_t guest_bytes) {
  std::vector<const MemoryMapping*> by_size;
  for (const MemoryMapping& mapping : mappings) by_size.push_back(&mapping);
  std::stable_sort(by_size.begin(), by_size.end(),
                   [](const auto* a, const auto* b) { return a->size > b->size; });
  MemoryUse use;
  uint64_t missing = guest_bytes;
  std::map<std::string, uint64_t> by_name;
  for (const MemoryMapping* mapping : by_size) {
    const bool guest =
        mapping->name.empty() && missing > kHeldBack && mapping->size <= missing + kHeldBack;
    if (guest) {
      missing -= std::min(missing, mapping->size);
      use.guest_resident += mapping->rss;
      continue;
    }
    use.rss += mapping->rss;
    use.pss += mapping->pss;
    by_name[mapping->name.empty() ? "anonymous" : mapping->name] += mapping->rss;
  }
  if (missing > kHeldBack) {
    return absl::NotFoundError(absl::StrFormat(
        "no anonymous mappings that make up %d MiB of guest memory; %d MiB are missing",
        guest_bytes >> 20, missing >> 20));
  }
  for (const auto& [name, rss] : by_name) {
    if (rss > use.largest_rss) std::tie(use.largest_name, use.largest_rss) = std::tie(name, rss);
  }
  return use;
}

absl::StatusOr<MemoryUse> ReadMemoryUse(pid_t pid, uint64_t guest_bytes) {
  absl::StatusOr<std::string> text =
      ReadWholeFile(absl::StrCat("/proc/", pid, "/smaps"), kMostSmaps);
  if (!text.ok()) return text.status();
  absl::StatusOr<std::vector<MemoryMapping>> mappings = ParseSmaps(*text);
  if (!mappings.ok()) return mappings.status();
  return SplitMemory(*mappings, guest_bytes);
}

}  // namespace stasis::bench
