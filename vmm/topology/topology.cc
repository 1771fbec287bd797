#include "vmm/topology/topology.h"

#include <algorithm>
#include <bit>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"

namespace stasis {
namespace {

constexpr uint8_t kLocalDistance = 10;   // ACPI 6.5 §5.2.17
constexpr uint8_t kRemoteDistance = 20;  // what firmware reports for one hop
constexpr uint32_t kMaxThreadsPerCore = 8;

uint32_t BitsFor(uint32_t count) { return std::bit_width(count - 1); }

absl::Status Bad(absl::string_view text, absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrFormat(
      "topology '%s': %s; write NUMA nodes, LLCs in all, cores per LLC and threads per core, as in "
      "1n2l4c2t",
      text, why));
}

// A part's number and letter, cut from the front of `*rest`.
struct Part {
  uint32_t count = 0;
  char letter = 0;
};

absl::StatusOr<Part> TakePart(absl::string_view text, absl::string_view* rest) {
  size_t digits = 0;
  while (digits < rest->size() && absl::ascii_isdigit((*rest)[digits])) ++digits;
  if (digits == 0) return Bad(text, absl::StrFormat("expected a number before '%s'", *rest));
  if (digits == rest->size()) {
    return Bad(text, absl::StrFormat("expected n, l, c or t behind '%s'", *rest));
  }
  Part part;
  part.letter = absl::ascii_tolower((*rest)[digits]);
  if (!absl::SimpleAtoi(rest->substr(0, digits), &part.count)) {
    return Bad(text, absl::StrFormat("%s is too large", rest->substr(0, digits)));
  }
  if (part.count == 0)
    return Bad(text, absl::StrFormat("0%c: each count is at least 1", part.letter));
  rest->remove_prefix(digits + 1);
  return part;
}

}  // namespace

Topology::Topology(uint32_t nodes, uint32_t llcs, uint32_t cores_per_llc, uint32_t threads_per_core)
    : nodes_(nodes),
      llcs_(llcs),
      cores_per_llc_(cores_per_llc),
      threads_per_core_(threads_per_core),
      distances_(nodes * nodes, kRemoteDistance) {
  for (uint32_t node = 0; node < nodes; ++node) distances_[node * nodes + node] = kLocalDistance;
}

absl::StatusOr<Topology> Topology::Parse(absl::string_view text) {
  constexpr absl::string_view kLetters = "nlct";
  uint32_t counts[4] = {};  // 0: not given
  absl::string_view rest = text;
  size_t next_letter = 0;
  if (rest.empty()) return Bad(text, "it is empty");
  while (!rest.empty()) {
    absl::StatusOr<Part> part = TakePart(text, &rest);
    if (!part.ok()) return part.status();
    const size_t at = kLetters.find(part->letter);
    if (at == absl::string_view::npos) {
      return Bad(text, absl::StrFormat("'%c' is none of n, l, c, t", part->letter));
    }
    if (at < next_letter) {
      return Bad(text, absl::StrFormat("'%c' stands twice or out of order", part->letter));
    }
    counts[at] = part->count;
    next_letter = at + 1;
  }
  const uint64_t nodes = std::max(counts[0], 1u);
  const uint64_t llcs = counts[1] != 0 ? counts[1] : nodes;
  const uint64_t cores = std::max(counts[2], 1u);
  const uint64_t threads = std::max(counts[3], 1u);
  if (threads > kMaxThreadsPerCore) {
    return Bad(text,
               absl::StrFormat("%d threads per core: at most %d", threads, kMaxThreadsPerCore));
  }
  if (llcs % nodes != 0) {
    return Bad(text,
               absl::StrFormat("%d LLCs cannot be shared out evenly to %d nodes (l counts all "
                               "LLCs of the machine: use a multiple of %d)",
                               llcs, nodes, nodes));
  }
  // Each factor is checked first, so that the product cannot overflow.
  if (llcs > kMaxVcpus || cores > kMaxVcpus || llcs * cores * threads > kMaxVcpus) {
    return Bad(text, absl::StrFormat("more than %d CPUs", kMaxVcpus));
  }
  return Topology(nodes, llcs, cores, threads);
}

uint32_t Topology::thread_bits() const { return BitsFor(threads_per_core_); }
uint32_t Topology::core_bits() const { return BitsFor(cores_per_llc_); }
uint32_t Topology::llc_bits() const { return BitsFor(llcs_per_node()); }

CpuPlace Topology::Place(uint32_t cpu) const {
  CpuPlace place;
  place.thread = cpu % threads_per_core_;
  place.core = cpu / threads_per_core_ % cores_per_llc_;
  place.llc = cpu / cpus_per_llc();
  place.node = cpu / cpus_per_node();
  const uint32_t llc_in_node = place.llc % llcs_per_node();
  place.apic_id = place.node;
  place.apic_id = place.apic_id << llc_bits() | llc_in_node;
  place.apic_id = place.apic_id << core_bits() | place.core;
  place.apic_id = place.apic_id << thread_bits() | place.thread;
  return place;
}

absl::Status Topology::SetDistances(const std::vector<std::vector<uint32_t>>& rows) {
  if (rows.size() != nodes_) {
    return absl::InvalidArgumentError(
        absl::StrFormat("NUMA distances: %d rows for %d nodes", rows.size(), nodes_));
  }
  std::vector<uint8_t> distances;
  for (uint32_t from = 0; from < nodes_; ++from) {
    if (rows[from].size() != nodes_) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "NUMA distances: row %d has %d values for %d nodes", from, rows[from].size(), nodes_));
    }
    for (uint32_t to = 0; to < nodes_; ++to) {
      const uint32_t value = rows[from][to];
      const bool valid =
          from == to ? value == kLocalDistance : value > kLocalDistance && value < 255;
      if (!valid) {
        return absl::InvalidArgumentError(
            absl::StrFormat("NUMA distances: %d from node %d to node %d; a node is 10 from itself "
                            "and 11 to 254 from others",
                            value, from, to));
      }
      distances.push_back(static_cast<uint8_t>(value));
    }
  }
  for (uint32_t from = 0; from < nodes_; ++from) {
    for (uint32_t to = 0; to < from; ++to) {
      if (rows[from][to] != rows[to][from]) {
        return absl::InvalidArgumentError(
            absl::StrFormat("NUMA distances: %d from node %d to %d but %d back", rows[from][to],
                            from, to, rows[to][from]));
      }
    }
  }
  distances_ = std::move(distances);
  return absl::OkStatus();
}

std::string Topology::ToString() const {
  return absl::StrFormat("%dn%dl%dc%dt", nodes_, llcs_, cores_per_llc_, threads_per_core_);
}

absl::StatusOr<uint64_t> ParseMemorySize(absl::string_view text) {
  absl::string_view digits = text;
  uint32_t shift = 0;
  const char unit = text.empty() ? '\0' : absl::ascii_toupper(text.back());
  if (unit == 'M') shift = 20;
  if (unit == 'G') shift = 30;
  if (shift != 0) digits.remove_suffix(1);
  uint64_t value = 0;
  if (!absl::SimpleAtoi(digits, &value)) {
    return absl::InvalidArgumentError(
        absl::StrFormat("memory '%s': expected a number with M or G, as in 512M", text));
  }
  if (shift == 0) {
    return absl::InvalidArgumentError(
        absl::StrFormat("memory '%s': the unit is missing; write %sM or %sG", text, text, text));
  }
  if (value == 0 || value > (uint64_t{1} << 46 >> shift)) {
    return absl::InvalidArgumentError(
        absl::StrFormat("memory '%s': expected between 1M and 64T", text));
  }
  return value << shift;
}

}  // namespace stasis
