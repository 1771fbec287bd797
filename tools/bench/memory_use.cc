#include "tools/bench/memory_use.h"

#include <algorithm>
#include <map>
#include <optional>
#include <tuple>
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
  mapping->begin = begin;
  mapping->size = end - begin;
  // A name may hold spaces: everything from the sixth word on.
  if (words.size() > 5) {
    mapping->name = std::string(line.substr(words[5].data() - line.data()));
  }
  return true;
}

// Indices into the mappings.
struct Range {
  size_t begin = 0;
  size_t end = 0;
};

// Advice on parts of the guest's RAM (huge pages under its kernel) splits its mapping.
std::optional<Range> FindGuest(const std::vector<MemoryMapping>& mappings, uint64_t guest_bytes) {
  for (size_t begin = 0; begin < mappings.size(); ++begin) {
    uint64_t sum = 0;
    for (size_t end = begin; end < mappings.size() && sum < guest_bytes; ++end) {
      const MemoryMapping& mapping = mappings[end];
      if (!mapping.name.empty() || mapping.begin != mappings[begin].begin + sum) break;
      sum += mapping.size;
      if (sum == guest_bytes) return Range{begin, end + 1};
    }
  }
  return std::nullopt;
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
  const std::optional<Range> guest = FindGuest(mappings, guest_bytes);
  if (!guest.has_value()) {
    return absl::NotFoundError(
        absl::StrFormat("no neighbouring anonymous mappings that make up %d MiB of guest memory",
                        guest_bytes >> 20));
  }
  MemoryUse use;
  std::map<std::string, uint64_t> by_name;
  for (size_t i = 0; i < mappings.size(); ++i) {
    const MemoryMapping& mapping = mappings[i];
    if (i >= guest->begin && i < guest->end) {
      use.guest_resident += mapping.rss;
      continue;
    }
    use.rss += mapping.rss;
    use.pss += mapping.pss;
    by_name[mapping.name.empty() ? "anonymous" : mapping.name] += mapping.rss;
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
