// Topology: the CPUs of a machine as the user writes them ("1n2l4c2t") and where each vCPU stands.
#ifndef STASIS_VMM_TOPOLOGY_TOPOLOGY_H_
#define STASIS_VMM_TOPOLOGY_TOPOLOGY_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace stasis {

// The most vCPUs of one machine. xAPIC IDs end at 254, and the I/O APIC takes one of them.
inline constexpr uint32_t kMaxVcpus = 252;

// Where one vCPU stands. All numbers count from 0 within the whole machine but `core` (within its
// LLC) and `thread` (within its core).
struct CpuPlace {
  uint32_t node = 0;     // NUMA node; one package (socket) per node
  uint32_t llc = 0;      // last-level cache
  uint32_t core = 0;     // core within the LLC
  uint32_t thread = 0;   // SMT thread within the core
  uint32_t apic_id = 0;  // x86: package, LLC, core and thread in fields of whole bits
};

// Immutable after Parse. NUMA nodes ⊇ LLCs ⊇ cores ⊇ threads; vCPUs are numbered with the thread
// running fastest, then the core, the LLC and the node.
class Topology {
 public:
  // One vCPU.
  Topology() : Topology(1, 1, 1, 1) {}

  // `text` is "NnLlCcTt": N NUMA nodes, L LLCs in all (a multiple of N), C cores per LLC, T threads
  // per core (1 or 2 in the field; up to 8 taken). A part that is left out counts 1 ("4c" is
  // 1n1l4c1t), but the LLCs, which default to one per node. Case does not matter.
  // Error: InvalidArgument that says which part is wrong and what would be right.
  static absl::StatusOr<Topology> Parse(absl::string_view text);

  uint32_t nodes() const { return nodes_; }
  uint32_t llcs() const { return llcs_; }
  uint32_t cores_per_llc() const { return cores_per_llc_; }
  uint32_t threads_per_core() const { return threads_per_core_; }
  uint32_t llcs_per_node() const { return llcs_ / nodes_; }
  uint32_t cpus_per_llc() const { return cores_per_llc_ * threads_per_core_; }
  uint32_t cpus_per_node() const { return llcs_per_node() * cpus_per_llc(); }
  uint32_t cpus() const { return nodes_ * cpus_per_node(); }

  CpuPlace Place(uint32_t cpu) const;

  // Width in bits of the fields of an APIC ID, from the lowest up.
  uint32_t thread_bits() const;
  uint32_t core_bits() const;
  uint32_t llc_bits() const;

  // The highest APIC ID in use. Above 254 a machine can be described but not run: Linux without
  // interrupt remapping does not start such a CPU.
  uint32_t max_apic_id() const { return Place(cpus() - 1).apic_id; }

  // Relative distance between two nodes as SLIT has it: 10 to itself, else 20 unless set.
  uint8_t distance(uint32_t from, uint32_t to) const { return distances_[from * nodes_ + to]; }

  // Replaces all distances; rows and columns are nodes. Error: InvalidArgument (not nodes × nodes,
  // a diagonal other than 10, any other value not in 11..254, or not symmetric).
  absl::Status SetDistances(const std::vector<std::vector<uint32_t>>& rows);

  // "1n2l4c2t": Parse of it gives the same topology.
  std::string ToString() const;

  bool operator==(const Topology&) const = default;

 private:
  Topology(uint32_t nodes, uint32_t llcs, uint32_t cores_per_llc, uint32_t threads_per_core);

  uint32_t nodes_;
  uint32_t llcs_;
  uint32_t cores_per_llc_;
  uint32_t threads_per_core_;
  std::vector<uint8_t> distances_;  // nodes × nodes, row by row
};

// Memory sizes as users write them: "512M", "2G", "1536M"; a unit is required.
// Error: InvalidArgument ("12": a unit is missing; write 12M or 12G).
absl::StatusOr<uint64_t> ParseMemorySize(absl::string_view text);

}  // namespace stasis

#endif  // STASIS_VMM_TOPOLOGY_TOPOLOGY_H_
