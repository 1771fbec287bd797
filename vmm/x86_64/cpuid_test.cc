// The leaves are decoded here as Linux decodes them (6.1: get_topology code of amd.c, topology.c;
// 6.12 and later: topology_ext.c, topology_amd.c, cacheinfo.c), written anew, and must give the
// requested topology.
#include "vmm/x86_64/cpuid.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <map>
#include <set>

namespace stasis {
namespace {

struct Regs {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};

using Table = std::vector<kvm_cpuid_entry2>;

kvm_cpuid_entry2 Entry(uint32_t function, uint32_t eax, uint32_t ebx, uint32_t ecx, uint32_t edx,
                       uint32_t index = 0) {
  kvm_cpuid_entry2 entry = {};
  entry.function = function;
  entry.index = index;
  entry.eax = eax;
  entry.ebx = ebx;
  entry.ecx = ecx;
  entry.edx = edx;
  return entry;
}

constexpr uint32_t kAllKvmFeatures = 0x0103feff;

Table KvmLeaves() {
  return {Entry(0x40000000, 0x40000001, 0x4b4d564b, 0x564b4d56, 0x4d, 0),
          Entry(0x40000001, kAllKvmFeatures, 0, 0, 1)};
}

// A host's KVM_GET_SUPPORTED_CPUID, reduced to what matters here.
Table IntelHost(uint32_t max_leaf) {
  Table table = {
      Entry(0, max_leaf, 0x756e6547, 0x6c65746e, 0x49656e69),
      Entry(1, 0x606a6, 0x07400800, 0x76fa3223, 0x178bfbff),
      // L1d 48 KiB, L1i, L2 shared by 2, L3 shared by 64, with the host's core counts.
      Entry(4, 0xfc004121, 0x02c0003f, 63, 0, 0), Entry(4, 0xfc004122, 0x01c0003f, 63, 0, 1),
      Entry(4, 0xfc004143, 0x04c0003f, 1023, 0, 2), Entry(4, 0xfc1fc163, 0x02c0003f, 49151, 4, 3),
      Entry(7, 0, 0xf1bf07ab, 0, 0xac00c400 | 1 << 15), Entry(0xb, 1, 2, 0x100, 7),
      Entry(0xb, 7, 64, 0x201, 7, 1), Entry(0x80000000, 0x80000008, 0, 0, 0),
      Entry(0x80000001, 0, 0, 0x121, 0x2c100800), Entry(0x80000008, 0x3934, 0, 0, 0)};
  for (const auto& entry : KvmLeaves()) table.push_back(entry);
  return table;
}

Table AmdHost(uint32_t signature, uint32_t max_extended, bool caches) {
  Table table = {Entry(0, 0x10, 0x68747541, 0x444d4163, 0x69746e65),
                 Entry(1, signature, 0x05400800, 0xfed83203, 0x178bfbff),
                 Entry(0xb, 1, 2, 0x100, 5),
                 Entry(0xb, 7, 128, 0x201, 5, 1),
                 Entry(0x80000000, max_extended, 0, 0, 0),
                 Entry(0x80000001, signature, 0, caches ? 0x75c237ffu : 0x2u, 0x2fd3fbff)};
  if (caches) {
    table.push_back(Entry(0x80000006, 0, 0, 0x02006140, 0x01009140));
    table.push_back(Entry(0x80000008, 0x3030, 0, 0x707f, 0));
    table.push_back(Entry(0x8000001d, 0x4121, 0x01c0003f, 63, 0, 0));
    table.push_back(Entry(0x8000001d, 0x4122, 0x01c0003f, 63, 0, 1));
    table.push_back(Entry(0x8000001d, 0x4143, 0x01c0003f, 1023, 2, 2));
    table.push_back(Entry(0x8000001d, 0x3c163, 0x03c0003f, 32767, 1, 3));
    table.push_back(Entry(0x8000001e, 5, 0x102, 0, 0));
    table.push_back(Entry(0x80000026, 1, 2, 0x100, 5));
  }
  for (const auto& entry : KvmLeaves()) table.push_back(entry);
  return table;
}

// What a guest's CPUID instruction returns.
class Cpu {
 public:
  explicit Cpu(Table table) : table_(std::move(table)) {}

  Regs Read(uint32_t function, uint32_t index = 0) const {
    for (const auto& entry : table_) {
      const bool indexed = (entry.flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) != 0;
      if (entry.function == function && (!indexed || entry.index == index)) {
        return {entry.eax, entry.ebx, entry.ecx, entry.edx};
      }
    }
    return {};
  }
  bool Has(uint32_t function) const {
    return std::any_of(table_.begin(), table_.end(),
                       [=](const auto& entry) { return entry.function == function; });
  }
  bool amd() const { return Read(0).ebx == 0x68747541; }
  uint32_t family() const {
    const uint32_t eax = Read(1).eax;
    const uint32_t family = eax >> 8 & 0xf;
    return family == 0xf ? family + (eax >> 20 & 0xff) : family;
  }
  uint32_t model() const {
    const uint32_t eax = Read(1).eax;
    return (eax >> 4 & 0xf) + (family() >= 6 ? (eax >> 16 & 0xf) << 4 : 0);
  }

 private:
  Table table_;
};

uint32_t Order(uint32_t count) { return std::bit_width(count - 1); }

// IDs as Linux computes them.
struct Ids {
  uint32_t apic = 0;
  uint32_t package = 0;
  uint32_t core = 0;  // within the package
  uint32_t llc = 0;
  uint32_t node = 0;      // AMD's node ID, which must be equal for siblings
  uint32_t l1_first = 0;  // lowest APIC ID that may share the L1
  uint32_t l1_ids = 0;    // how many may
};

Ids Decode(const Cpu& cpu) {
  Ids ids;
  uint32_t leaf = 0;
  if (cpu.Read(0).eax >= 0x1f && cpu.Read(0x1f).ebx != 0) leaf = 0x1f;
  if (cpu.amd() && cpu.Read(0x80000000).eax >= 0x80000026 && cpu.Read(0x80000026).ebx != 0) {
    leaf = 0x80000026;
  }
  if (leaf == 0 && cpu.Read(0).eax >= 0xb && cpu.Read(0xb).ebx != 0) leaf = 0xb;
  EXPECT_NE(leaf, 0u);
  uint32_t smt_shift = 0, package_shift = 0;
  for (uint32_t index = 0; index < 8; ++index) {
    const Regs level = cpu.Read(leaf, index);
    const uint32_t type = level.ecx >> 8 & 0xff;
    if ((level.ebx & 0xffff) == 0 || type == 0) break;
    if (type == 1) smt_shift = level.eax & 0x1f;
    package_shift = level.eax & 0x1f;
    ids.apic = level.edx;
  }
  ids.package = ids.apic >> package_shift;
  ids.core = (ids.apic & ((1u << package_shift) - 1)) >> smt_shift;

  const uint32_t caches = cpu.amd() ? 0x8000001d : 4;
  uint32_t count = 0;
  while ((cpu.Read(caches, count).eax & 0x1f) != 0) ++count;
  const auto sharing = [&](uint32_t index) {
    return (cpu.Read(caches, index).eax >> 14 & 0xfff) + 1;
  };
  ids.l1_ids = sharing(0);
  ids.l1_first = ids.apic - ids.apic % ids.l1_ids;
  if (!cpu.amd()) {
    ids.llc = ids.apic & ~((1u << Order(sharing(count - 1))) - 1);
    return ids;
  }
  EXPECT_TRUE(cpu.Read(0x80000001).ecx & 1u << 22) << "TOPOEXT";
  EXPECT_NE(cpu.Read(0x80000006).edx, 0u) << "L3";
  const Regs topology = cpu.Read(0x8000001e);
  EXPECT_EQ(topology.eax, ids.apic);
  EXPECT_EQ(topology.ebx & 0xff, ids.core);
  EXPECT_EQ(Order((topology.ebx >> 8 & 0xff) + 1), smt_shift);
  EXPECT_EQ(topology.ecx >> 8 & 7, 0u) << "nodes per package";
  ids.node = topology.ecx & 0xff;
  if (cpu.family() < 0x17) {
    ids.llc = ids.node;
  } else if (cpu.family() == 0x17 && cpu.model() <= 0x1f) {
    ids.llc = ids.apic >> 3;
  } else {
    ids.llc = ids.apic >> Order(sharing(count - 1));
  }
  return ids;
}

const char* const kTopologies[] = {"1c",       "2c",        "1n1l1c2t",   "1n1l3c2t",  "1n2l4c2t",
                                   "2n2l2c1t", "2n4l2c2t",  "1n3l3c1t",   "3n6l3c2t",  "4n8l2c2t",
                                   "1n2l3c3t", "2n6l5c2t",  "252c",       "2n4l63c1t", "1n63l4c1t",
                                   "1n1l4c8t", "4n4l63c1t", "1n126l1c2t", "7n7l4c1t"};

struct Host {
  const char* name;
  Table table;
};

std::vector<Host> Hosts() {
  return {{"Intel, all leaves", IntelHost(0x20)},
          {"Intel, up to leaf 0xD", IntelHost(0xd)},
          {"AMD Zen 3", AmdHost(0xa20f12, 0x80000028, true)},
          {"AMD Zen 1", AmdHost(0x800f12, 0x8000001f, true)},
          {"AMD family 0xF, no caches", AmdHost(0x60fb1, 0x80000008, false)}};
}

TEST(CpuidTest, LinuxSeesExactlyTheRequestedTopology) {
  for (const Host& host : Hosts()) {
    for (const char* text : kTopologies) {
      SCOPED_TRACE(std::string(host.name) + " " + text);
      const Topology topology = Topology::Parse(text).value();
      std::map<uint32_t, uint32_t> llc_of;      // what Linux calls an LLC → ours
      std::map<uint32_t, uint32_t> package_of;  // and back
      std::set<uint32_t> llcs, cores;
      for (uint32_t index = 0; index < topology.cpus(); ++index) {
        const absl::StatusOr<Table> table = BuildCpuid(host.table, topology, index, {});
        ASSERT_TRUE(table.ok()) << table.status();
        const Cpu cpu(*table);
        const Ids ids = Decode(cpu);
        const CpuPlace place = topology.Place(index);
        ASSERT_EQ(ids.apic, place.apic_id);
        ASSERT_EQ(cpu.Read(1).ebx >> 24, place.apic_id & 0xff);
        ASSERT_EQ(package_of.try_emplace(ids.package, place.node).first->second, place.node);
        ASSERT_EQ(llc_of.try_emplace(ids.llc, place.llc).first->second, place.llc);
        llcs.insert(ids.llc);
        // A core number belongs to one core of its package, and L1 is shared by exactly its IDs.
        const uint32_t core = place.apic_id >> topology.thread_bits();
        cores.insert(ids.package << 16 | ids.core);
        ASSERT_EQ(
            ids.package << 16 | ids.core,
            place.node << 16 | (core & ((1u << (topology.core_bits() + topology.llc_bits())) - 1)));
        ASSERT_EQ(ids.l1_first, core << topology.thread_bits());
        ASSERT_EQ(ids.l1_ids, 1u << topology.thread_bits());
      }
      EXPECT_EQ(llcs.size(), topology.llcs());
      EXPECT_EQ(package_of.size(), topology.nodes());
      EXPECT_EQ(cores.size(), topology.llcs() * topology.cores_per_llc());
    }
  }
}

Cpu Build(const Table& host, absl::string_view topology, const CpuidOptions& options = {}) {
  absl::StatusOr<Table> table = BuildCpuid(host, Topology::Parse(topology).value(), 0, options);
  EXPECT_TRUE(table.ok()) << table.status();
  return Cpu(table.ok() ? *std::move(table) : Table());
}

TEST(CpuidTest, LogicalProcessorCountAndHttFollowThePackage) {
  const Cpu intel = Build(IntelHost(0x20), "1n1l3c2t");
  EXPECT_EQ(intel.Read(1).ebx >> 16 & 0xff, 8u);  // IDs set aside
  EXPECT_EQ(intel.Read(4, 0).eax >> 26, 3u);      // cores, likewise, less one
  EXPECT_TRUE(intel.Read(1).edx & 1u << 28);
  EXPECT_FALSE(Build(IntelHost(0x20), "2n").Read(1).edx & 1u << 28);
  const Cpu amd = Build(AmdHost(0xa20f12, 0x80000028, true), "1n1l3c2t");
  EXPECT_EQ(amd.Read(1).ebx >> 16 & 0xff, 6u);
  EXPECT_EQ(amd.Read(0x80000008).ecx & 0xffff, 5u | 3u << 12);
  EXPECT_TRUE(amd.Read(0x80000001).ecx & 1u << 1);  // CmpLegacy
}

TEST(CpuidTest, HostCacheSizesAreKeptAndMissingOnesSynthesised) {
  EXPECT_EQ(Build(IntelHost(0x20), "4c").Read(4, 3).ecx, 49151u);
  const Cpu bare = Build(AmdHost(0x60fb1, 0x80000008, false), "4c");
  const Regs l3 = bare.Read(0x8000001d, 3);
  EXPECT_EQ(l3.eax & 0xff, 0x63u);
  EXPECT_EQ((l3.ecx + 1) * 64 * ((l3.ebx >> 22) + 1), 16u << 20);
  EXPECT_EQ(bare.Read(0x80000006).edx >> 18, 32u);  // the same 16 MiB in units of 512 KiB
  Table no_l3 = IntelHost(0x20);
  std::erase_if(no_l3, [](const auto& e) { return e.function == 4 && e.index == 3; });
  EXPECT_EQ(Build(no_l3, "4c").Read(4, 3).eax & 0xff, 0x63u);
  EXPECT_EQ(Build(no_l3, "4c").Read(4, 4).eax, 0u);
}

// Linux, native_calibrate_tsc(): unsigned 32-bit arithmetic.
TEST(CpuidTest, IntelTscFrequencyComesOutOfLinuxArithmetic) {
  for (const uint32_t khz : {1000000u, 2893437u, 2400000u, 3700123u, 800001u, 4199999u}) {
    CpuidOptions options;
    options.tsc_khz = khz;
    const Cpu cpu = Build(IntelHost(0xd), "1c", options);
    ASSERT_GE(cpu.Read(0).eax, 0x16u);
    const Regs leaf = cpu.Read(0x15);
    const uint32_t crystal_khz = leaf.ecx / 1000;
    EXPECT_EQ(crystal_khz, 1000000u);  // the local APIC timer's clock
    ASSERT_LE(uint64_t{crystal_khz} * leaf.ebx, 0xffffffffu);
    const uint32_t found = crystal_khz * leaf.ebx / leaf.eax;
    EXPECT_NEAR(found, khz, khz * 1e-6 + 1) << leaf.ebx << "/" << leaf.eax;
  }
}

TEST(CpuidTest, TimingLeafIsCoveredByTheHypervisorsMaximum) {
  CpuidOptions options;
  options.tsc_khz = 2893437;
  for (const Host& host : Hosts()) {
    const Cpu cpu = Build(host.table, "1c", options);
    EXPECT_GE(cpu.Read(0x40000000).eax, 0x40000010u);
    EXPECT_EQ(cpu.Read(0x40000010).eax, 2893437u);
    EXPECT_EQ(cpu.Read(0x40000010).ebx, 1000000u);
  }
  EXPECT_FALSE(Build(IntelHost(0x20), "1c").Has(0x40000010));
}

TEST(CpuidTest, ParavirtualFeaturesAreKvmsLessThoseThatDisturbScheduling) {
  const Cpu cpu = Build(IntelHost(0x20), "1c");
  const uint32_t features = cpu.Read(0x40000001).eax;
  EXPECT_TRUE(features & 1u << 3);                           // kvm-clock
  EXPECT_TRUE(features & 1u << 24);                          // stable
  EXPECT_FALSE(features & (1u << 4 | 1u << 10 | 1u << 14));  // asynchronous page faults
  EXPECT_EQ(cpu.Read(0x40000001).edx, 0u);
  Table poor = IntelHost(0x20);
  for (auto& entry : poor) {
    if (entry.function == 0x40000001) entry.eax = 1u << 3;
  }
  EXPECT_EQ(Build(poor, "1c").Read(0x40000001).eax, 1u << 3);  // nothing that KVM lacks
}

TEST(CpuidTest, TscDeadlineFollowsTheCapabilityAndHybridIsGone) {
  CpuidOptions options;
  options.tsc_deadline = true;
  EXPECT_TRUE(Build(IntelHost(0x20), "1c", options).Read(1).ecx & 1u << 24);
  const Cpu cpu = Build(IntelHost(0x20), "1c");
  EXPECT_FALSE(cpu.Read(1).ecx & 1u << 24);
  EXPECT_TRUE(cpu.Read(1).ecx & 1u << 31);
  EXPECT_FALSE(cpu.Read(7).edx & 1u << 15);
}

TEST(CpuidTest, FeaturesOutsideTopologyAreTheHosts) {
  const Table host = IntelHost(0x20);
  const Cpu cpu = Build(host, "2n4l2c2t");
  EXPECT_EQ(cpu.Read(7).ebx, 0xf1bf07abu);
  EXPECT_EQ(cpu.Read(1).eax, 0x606a6u);
  EXPECT_EQ(cpu.Read(1).ecx, (0x76fa3223u & ~(1u << 24)) | 1u << 31);
}

TEST(CpuidTest, UnusableInputIsRefused) {
  const Topology topology = Topology::Parse("2c").value();
  EXPECT_FALSE(BuildCpuid({}, topology, 0, {}).ok());
  EXPECT_FALSE(BuildCpuid(IntelHost(0x20), topology, 2, {}).ok());
}

}  // namespace
}  // namespace stasis
