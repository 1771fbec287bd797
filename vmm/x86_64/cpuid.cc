#include "vmm/x86_64/cpuid.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_format.h"

namespace stasis {
namespace {

constexpr uint32_t kHypervisorBase = 0x40000000;
constexpr uint32_t kKvmFeatures = 0x40000001;
constexpr uint32_t kTimingLeaf = 0x40000010;  // EAX: TSC kHz, EBX: APIC bus kHz
constexpr uint32_t kExtendedBase = 0x80000000;
constexpr uint32_t kAmdSizes = 0x80000008;
constexpr uint32_t kAmdCaches = 0x8000001d;
constexpr uint32_t kAmdTopology = 0x8000001e;
constexpr uint32_t kAmdExtendedTopology = 0x80000026;

// Leaf 1.
constexpr uint32_t kEcxTscDeadline = 1u << 24;
constexpr uint32_t kEcxHypervisor = 1u << 31;
constexpr uint32_t kEdxHtt = 1u << 28;
// Leaf 7.
constexpr uint32_t kEdxHybrid = 1u << 15;
// Leaf 0x80000001.
constexpr uint32_t kEcxCmpLegacy = 1u << 1;
constexpr uint32_t kEcxTopoExt = 1u << 22;

// Leaf 0x40000001: the paravirtual features that this machine passes on where KVM has them.
constexpr uint32_t kKeptKvmFeatures =
    1u << 0 | 1u << 3 | 1u << 24 |  // kvm-clock, both MSR generations, stable across vCPUs
    1u << 1 |                       // no I/O delay: a port write there would be an exit for nothing
    1u << 5 |                       // steal time: what the host took must not look like the guest's
    1u << 6 |                       // PV EOI: an exit less per interrupt
    1u << 7 |                       // unhalt: spinlock waiters sleep when their holder is preempted
    1u << 9 | 1u << 11 |            // TLB flush and IPI by hypercall
    1u << 13;                       // yield to the target of an IPI
// Not passed on: asynchronous page faults (bits 4, 10, 14), which make the guest's scheduler switch
// tasks because of the host's paging; poll control (12), which lets an idle guest spin; address
// ranges and migration (16, 17), which serve encrypted guests.

enum class Vendor { kIntel, kAmd };

// One level of cache as leaves 4 and 0x8000001D describe it, without the fields of sharing.
struct Cache {
  uint32_t eax = 0;
  uint32_t ebx = 0;
  uint32_t ecx = 0;
  uint32_t edx = 0;
  uint32_t level() const { return eax >> 5 & 7; }
};
constexpr uint32_t kCacheKindMask = 0x3ff;  // type, level, self-initializing, fully associative
constexpr uint32_t kLineSize = 64;

constexpr Cache MakeCache(uint32_t type, uint32_t level, uint32_t ways, uint32_t sets) {
  return {type | level << 5 | 1u << 8, (kLineSize - 1) | (ways - 1) << 22, sets - 1, 0};
}
// Used where the host's CPUID has none: 32 KiB, 32 KiB, 1 MiB, 16 MiB.
constexpr Cache kDefaultL1d = MakeCache(1, 1, 8, 64);
constexpr Cache kDefaultL1i = MakeCache(2, 1, 8, 64);
constexpr Cache kDefaultL2 = MakeCache(3, 2, 16, 1024);
constexpr Cache kDefaultL3 = MakeCache(3, 3, 16, 16384);
// The same L3 for leaf 0x80000006 EDX: 32 × 512 KiB, 16 ways, 64-byte lines.
constexpr uint32_t kDefaultL3Edx = 32u << 18 | 8u << 12 | 1u << 8 | kLineSize;

// Builds one vCPU's leaves in place.
class Builder {
 public:
  Builder(absl::Span<const kvm_cpuid_entry2> supported, const Topology& topology, uint32_t cpu,
          const CpuidOptions& options)
      : entries_(supported.begin(), supported.end()),
        topology_(topology),
        options_(options),
        place_(topology.Place(cpu)),
        core_shift_(topology.thread_bits()),
        llc_shift_(core_shift_ + topology.core_bits()),
        package_shift_(llc_shift_ + topology.llc_bits()) {}

  absl::StatusOr<std::vector<kvm_cpuid_entry2>> Build() {
    const kvm_cpuid_entry2* leaf0 = Find(0);
    if (leaf0 == nullptr || Find(1) == nullptr) {
      return absl::InvalidArgumentError(
          "CPUID: KVM_GET_SUPPORTED_CPUID has no leaf 0 or 1; this KVM cannot run a Linux guest");
    }
    // "Auth" of AuthenticAMD, "Hygo" of HygonGenuine; all others follow Intel.
    const bool amd = leaf0->ebx == 0x68747541 || leaf0->ebx == 0x6f677948;
    vendor_ = amd ? Vendor::kAmd : Vendor::kIntel;
    Basic();
    Caches();
    ExtendedTopology();
    if (vendor_ == Vendor::kAmd) Amd();
    if (vendor_ == Vendor::kIntel) Intel();
    Frequencies();
    Hypervisor();
    return std::move(entries_);
  }

 private:
  kvm_cpuid_entry2* Find(uint32_t function, uint32_t index = 0) {
    for (kvm_cpuid_entry2& entry : entries_) {
      if (entry.function == function && entry.index == index) return &entry;
    }
    return nullptr;
  }

  kvm_cpuid_entry2& FindOrAdd(uint32_t function) {
    if (kvm_cpuid_entry2* entry = Find(function)) return *entry;
    entries_.push_back({.function = function});
    return entries_.back();
  }

  void Add(uint32_t function, uint32_t index, uint32_t eax, uint32_t ebx, uint32_t ecx,
           uint32_t edx) {
    entries_.push_back({.function = function,
                        .index = index,
                        .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
                        .eax = eax,
                        .ebx = ebx,
                        .ecx = ecx,
                        .edx = edx});
  }

  void Drop(uint32_t function) {
    std::erase_if(entries_, [=](const auto& entry) { return entry.function == function; });
  }

  void RaiseMax(uint32_t base, uint32_t function) {
    kvm_cpuid_entry2& entry = FindOrAdd(base);
    entry.eax = std::max(entry.eax, function);
  }

  uint32_t Max(uint32_t base) {
    const kvm_cpuid_entry2* entry = Find(base);
    return entry == nullptr ? 0 : entry->eax;
  }

  void Basic() {
    kvm_cpuid_entry2& leaf1 = *Find(1);
    const uint32_t cpus = topology_.cpus_per_node();
    // Intel counts the IDs set aside for a package, AMD its CPUs.
    const uint32_t logical = vendor_ == Vendor::kIntel ? 1u << package_shift_ : cpus;
    leaf1.ebx = (leaf1.ebx & 0xffff) | std::min(logical, 255u) << 16 | place_.apic_id << 24;
    leaf1.ecx |= kEcxHypervisor;
    leaf1.ecx &= ~kEcxTscDeadline;
    if (options_.tsc_deadline) leaf1.ecx |= kEcxTscDeadline;
    leaf1.edx = cpus > 1 ? leaf1.edx | kEdxHtt : leaf1.edx & ~kEdxHtt;
    // All vCPUs are alike, whatever kinds of core the host has.
    if (kvm_cpuid_entry2* leaf7 = Find(7)) leaf7->edx &= ~kEdxHybrid;
    Drop(0x1a);
  }

  std::vector<Cache> HostCaches(uint32_t function) {
    std::vector<Cache> caches;
    for (uint32_t index = 0;; ++index) {
      const kvm_cpuid_entry2* entry = Find(function, index);
      if (entry == nullptr || (entry->eax & 0x1f) == 0) break;
      const Cache cache = {entry->eax & kCacheKindMask, entry->ebx, entry->ecx, entry->edx};
      if (cache.level() <= 3) caches.push_back(cache);
    }
    const auto has = [&](uint32_t level) {
      return std::any_of(caches.begin(), caches.end(),
                         [=](const Cache& cache) { return cache.level() == level; });
    };
    if (!has(1)) caches.insert(caches.begin(), {kDefaultL1d, kDefaultL1i});
    if (!has(2)) caches.push_back(kDefaultL2);
    if (!has(3)) caches.push_back(kDefaultL3);
    // Linux on AMD takes the last one for the LLC.
    std::stable_sort(caches.begin(), caches.end(),
                     [](const Cache& a, const Cache& b) { return a.level() < b.level(); });
    return caches;
  }

  // The sharing fields count APIC IDs, not CPUs: both vendors round up to whole bits.
  void Caches() {
    const uint32_t function = vendor_ == Vendor::kIntel ? 4 : kAmdCaches;
    const std::vector<Cache> caches = HostCaches(function);
    Drop(4);
    Drop(kAmdCaches);
    const uint32_t core_ids = 1u << (package_shift_ - core_shift_);
    uint32_t index = 0;
    for (const Cache& cache : caches) {
      const uint32_t sharing = (1u << (cache.level() == 3 ? llc_shift_ : core_shift_)) - 1;
      uint32_t eax = cache.eax | sharing << 14;
      if (vendor_ == Vendor::kIntel) eax |= std::min(core_ids - 1, 63u) << 26;
      Add(function, index++, eax, cache.ebx, cache.ecx, cache.edx);
    }
    Add(function, index, 0, 0, 0, 0);
    RaiseMax(function & kExtendedBase, function);
  }

  // Leaves 0xB and 0x1F: threads in a core, CPUs in a package. An LLC is no level of these leaves:
  // kernels find it by the L3's sharing. A die level would make lscpu-like tools count dies.
  void ExtendedTopology() {
    RaiseMax(0, 0xb);
    for (const uint32_t function : {0xbu, 0x1fu}) {
      Drop(function);
      if (function > Max(0)) continue;
      Add(function, 0, core_shift_, topology_.threads_per_core(), 1u << 8 | 0, place_.apic_id);
      Add(function, 1, package_shift_, topology_.cpus_per_node(), 2u << 8 | 1, place_.apic_id);
      Add(function, 2, 0, 0, 2, place_.apic_id);
    }
    // AMD's own form of the same would have to be right as well; a kernel falls back to 0xB.
    Drop(kAmdExtendedTopology);
  }

  void Intel() {
    Drop(kAmdTopology);
    if (kvm_cpuid_entry2* leaf = Find(kExtendedBase + 1)) {
      leaf->ecx &= ~(kEcxCmpLegacy | kEcxTopoExt);
    }
    if (kvm_cpuid_entry2* leaf = Find(kAmdSizes)) leaf->ecx = 0;
  }

  static uint32_t Family(uint32_t eax) {
    const uint32_t family = eax >> 8 & 0xf;
    return family == 0xf ? family + (eax >> 20 & 0xff) : family;
  }
  static uint32_t Model(uint32_t eax) { return (eax >> 4 & 0xf) | (eax >> 12 & 0xf0); }

  void Amd() {
    RaiseMax(kExtendedBase, kAmdTopology);
    const uint32_t cpus = topology_.cpus_per_node();
    kvm_cpuid_entry2& features = FindOrAdd(kExtendedBase + 1);
    features.ecx |= kEcxTopoExt;
    features.ecx = cpus > 1 ? features.ecx | kEcxCmpLegacy : features.ecx & ~kEcxCmpLegacy;

    // Linux looks for an L3 here before it asks leaf 0x8000001D who shares it.
    kvm_cpuid_entry2& l2_and_l3 = FindOrAdd(kExtendedBase + 6);
    if (l2_and_l3.edx == 0) l2_and_l3.edx = kDefaultL3Edx;

    kvm_cpuid_entry2& sizes = FindOrAdd(kAmdSizes);
    sizes.ecx = (sizes.ecx & 0x30000) | (cpus - 1) | package_shift_ << 12;

    ZenWithFixedLlcs();
    // Before family 0x17 Linux takes the node within the package ("internal node") for the LLC;
    // from then on it is the machine's node. There is one node per package either way: a count
    // above one would make Linux rename cores.
    const bool node_is_llc = Family(Find(1)->eax) < 0x17;
    const uint32_t core = (place_.apic_id & ((1u << package_shift_) - 1)) >> core_shift_;
    Drop(kAmdTopology);
    entries_.push_back({.function = kAmdTopology,
                        .eax = place_.apic_id,
                        .ebx = core | (topology_.threads_per_core() - 1) << 8,
                        .ecx = node_is_llc ? place_.llc : place_.node});
  }

  // On the first Zen models (family 0x17 up to model 0x1F) Linux puts an LLC at 8 APIC IDs,
  // whatever the leaves say. Where that is wrong, the CPU calls itself model 0x20, the next of that
  // kind.
  void ZenWithFixedLlcs() {
    if (llc_shift_ == 3) return;
    for (kvm_cpuid_entry2* leaf : {Find(1), Find(kExtendedBase + 1)}) {
      if (leaf == nullptr || Family(leaf->eax) != 0x17 || Model(leaf->eax) > 0x1f) continue;
      leaf->eax = (leaf->eax & ~0xf00f0u) | 2u << 16;
    }
  }

  // Leaf 0x15 gives the TSC as a fraction of a crystal that also drives the local APIC timer. Linux
  // multiplies crystal kHz and numerator in 32 bits: the fraction is the best one that keeps to it.
  void Frequencies() {
    Drop(0x15);
    Drop(0x16);
    const uint32_t crystal_khz = options_.lapic_hz / 1000;
    if (options_.tsc_khz == 0 || crystal_khz == 0 || vendor_ != Vendor::kIntel) return;
    const double ratio = static_cast<double>(options_.tsc_khz) / crystal_khz;
    const double most = std::floor(4294967295.0 / crystal_khz);
    uint32_t numerator = 0, denominator = 0;
    double best = 1e300;
    for (uint32_t below = 1; std::round(below * ratio) <= most && below <= 1000000; ++below) {
      const double above = std::round(below * ratio);
      const double error = std::abs(above / below - ratio);
      if (above < 1 || error >= best) continue;
      best = error;
      numerator = static_cast<uint32_t>(above);
      denominator = below;
    }
    if (numerator == 0) return;
    const uint32_t tsc_mhz = (options_.tsc_khz + 500) / 1000;
    RaiseMax(0, 0x16);
    entries_.push_back(
        {.function = 0x15, .eax = denominator, .ebx = numerator, .ecx = options_.lapic_hz});
    entries_.push_back({.function = 0x16, .eax = tsc_mhz, .ebx = tsc_mhz, .ecx = 100});
  }

  void Hypervisor() {
    Drop(kTimingLeaf);
    kvm_cpuid_entry2* signature = Find(kHypervisorBase);
    kvm_cpuid_entry2* features = Find(kKvmFeatures);
    if (signature == nullptr || features == nullptr) return;
    features->eax &= kKeptKvmFeatures;
    features->edx = 0;  // no hint that vCPUs are never preempted: they are threads
    signature->eax = std::max(signature->eax, kKvmFeatures);
    if (options_.tsc_khz == 0) return;
    signature->eax = std::max(signature->eax, kTimingLeaf);
    entries_.push_back(
        {.function = kTimingLeaf, .eax = options_.tsc_khz, .ebx = options_.lapic_hz / 1000});
  }

  std::vector<kvm_cpuid_entry2> entries_;
  const Topology& topology_;
  const CpuidOptions& options_;
  const CpuPlace place_;
  const uint32_t core_shift_;     // APIC ID >> this: core
  const uint32_t llc_shift_;      // LLC
  const uint32_t package_shift_;  // package, which is a node
  Vendor vendor_ = Vendor::kIntel;
};

}  // namespace

absl::StatusOr<std::vector<kvm_cpuid_entry2>> BuildCpuid(
    absl::Span<const kvm_cpuid_entry2> supported, const Topology& topology, uint32_t cpu,
    const CpuidOptions& options) {
  if (cpu >= topology.cpus()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("CPUID: vCPU %d of %d", cpu, topology.cpus()));
  }
  return Builder(supported, topology, cpu, options).Build();
}

}  // namespace stasis
