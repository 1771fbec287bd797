#include "tools/harness/topology_check.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace stasis {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

Topology Asked(absl::string_view text) { return *Topology::Parse(text); }

CpuSet Cpus(absl::string_view list) { return *CpuSet::Parse(list); }

// 1n2l1c2t written out by hand, as sysfs has it.
wire::Topology TwoLlcsOfOneCoreWithSmt() {
  wire::Topology seen;
  seen.online = Cpus("0-3");
  for (uint32_t cpu = 0; cpu < 4; ++cpu) {
    wire::CpuFacts facts;
    facts.cpu = cpu;
    facts.package = 0;
    facts.node = 0;
    facts.threads = Cpus(cpu < 2 ? "0-1" : "2-3");
    facts.package_cpus = Cpus("0-3");
    facts.caches = {{1, "Data", 32768, facts.threads}, {3, "Unified", 1 << 20, facts.threads}};
    seen.cpus.push_back(facts);
  }
  seen.nodes = {{0, Cpus("0-3"), {10}, 1 << 29}};
  return seen;
}

// 2n2l1c1t
wire::Topology TwoNodes() {
  wire::Topology seen;
  seen.online = Cpus("0-1");
  for (uint32_t cpu = 0; cpu < 2; ++cpu) {
    const CpuSet own = CpuSet::Of({cpu});
    wire::CpuFacts facts;
    facts.cpu = cpu;
    facts.package = static_cast<int>(cpu);
    facts.node = static_cast<int>(cpu);
    facts.threads = own;
    facts.package_cpus = own;
    facts.caches = {{3, "Unified", 1 << 20, own}};
    seen.cpus.push_back(facts);
  }
  seen.nodes = {{0, Cpus("0"), {10, 20}, 1 << 28}, {1, Cpus("1"), {20, 10}, 1 << 28}};
  return seen;
}

TEST(TopologyCheckTest, GuestThatSeesTheRequestDiffersInNothing) {
  EXPECT_THAT(CompareTopology(Asked("1n2l1c2t"), TwoLlcsOfOneCoreWithSmt(), {}), IsEmpty());
  EXPECT_THAT(CompareTopology(Asked("2n2l1c1t"), TwoNodes(), {}), IsEmpty());
}

TEST(TopologyCheckTest, MissingCpuIsNamed) {
  EXPECT_THAT(CompareTopology(Asked("1n2l2c2t"), TwoLlcsOfOneCoreWithSmt(), {}),
              ElementsAre("online CPUs: asked for 0-7, the guest sees 0-3"));
}

TEST(TopologyCheckTest, ThreadsSeenAsCoresAreNamed) {
  wire::Topology seen = TwoLlcsOfOneCoreWithSmt();
  seen.cpus[1].threads = Cpus("1");

  EXPECT_THAT(CompareTopology(Asked("1n2l1c2t"), seen, {}),
              ElementsAre("cpu1 threads of its core: asked for 0-1, the guest sees 1"));
}

TEST(TopologyCheckTest, SharedLlcIsNamed) {
  wire::Topology seen = TwoLlcsOfOneCoreWithSmt();
  seen.cpus[3].caches.back().shared = Cpus("0-3");

  EXPECT_THAT(CompareTopology(Asked("1n2l1c2t"), seen, {}),
              ElementsAre("cpu3 CPUs of its LLC: asked for 2-3, the guest sees 0-3"));
}

TEST(TopologyCheckTest, CpuWithoutCachesIsNamed) {
  wire::Topology seen = TwoLlcsOfOneCoreWithSmt();
  seen.cpus[0].caches.clear();

  EXPECT_THAT(CompareTopology(Asked("1n2l1c2t"), seen, {}), ElementsAre(HasSubstr("cpu0 caches")));
}

TEST(TopologyCheckTest, SamePackageNumberForTwoPackagesIsNamed) {
  wire::Topology seen = TwoNodes();
  seen.cpus[1].package = 0;

  EXPECT_THAT(CompareTopology(Asked("2n2l1c1t"), seen, {}),
              ElementsAre("packages: asked for 2, the guest sees 1"));
}

TEST(TopologyCheckTest, OtherDistancesAreNamed) {
  wire::Topology seen = TwoNodes();
  seen.nodes[1].distance = {40, 10};

  EXPECT_THAT(CompareTopology(Asked("2n2l1c1t"), seen, {}),
              ElementsAre("node1 distances: asked for 20 10, the guest sees 40 10"));
}

TEST(TopologyCheckTest, MissingNodeIsNamed) {
  wire::Topology seen = TwoNodes();
  seen.nodes.pop_back();

  EXPECT_THAT(CompareTopology(Asked("2n2l1c1t"), seen, {}),
              ElementsAre("NUMA nodes: asked for 2, the guest sees 1"));
}

TEST(TopologyCheckTest, KernelWithoutNumaTableIsNotBlamedForNodes) {
  wire::Topology seen = TwoNodes();
  seen.nodes.clear();
  for (wire::CpuFacts& cpu : seen.cpus) cpu.node = -1;

  EXPECT_THAT(CompareTopology(Asked("2n2l1c1t"), seen, {.numa = false}), IsEmpty());
  EXPECT_FALSE(CompareTopology(Asked("2n2l1c1t"), seen, {.numa = true}).empty());
}

TEST(TopologyCheckTest, CpuReportedTwiceIsNamed) {
  wire::Topology seen = TwoNodes();
  seen.cpus[1] = seen.cpus[0];

  EXPECT_FALSE(CompareTopology(Asked("2n2l1c1t"), seen, {}).empty());
}

TEST(TopologyCheckTest, DifferencesAreBounded) {
  wire::Topology seen;
  seen.online = Cpus("0-127");
  for (uint32_t cpu = 0; cpu < 128; ++cpu) seen.cpus.push_back({.cpu = cpu});

  EXPECT_EQ(CompareTopology(Asked("128c"), seen, {}).size(), 20u);
}

TEST(TopologyCheckTest, DescriptionsOfRequestAndGuestAreAlike) {
  const std::string text =
      "2 CPUs: 2 packages, 2 LLCs, 2 cores, 1 thread per core; 2 NUMA nodes (distances 10 20 / 20 "
      "10)";
  EXPECT_EQ(DescribeTopology(Asked("2n2l1c1t")), text);
  EXPECT_EQ(DescribeTopology(TwoNodes()), text);
}

TEST(CpuGroupsOfTest, CachesAndNodesHaveTheirCpus) {
  const CpuGroups groups = CpuGroupsOf(*Topology::Parse("2n4l2c1t"));

  EXPECT_EQ(groups.online.ToString(), "0-7");
  ASSERT_EQ(groups.llcs.size(), 4u);
  EXPECT_EQ(groups.llcs[3].ToString(), "6-7");
  ASSERT_EQ(groups.nodes.size(), 2u);
  EXPECT_EQ(groups.nodes[1].ToString(), "4-7");
}

}  // namespace
}  // namespace stasis
