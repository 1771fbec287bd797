#include "vmm/topology/topology.h"

#include <gtest/gtest.h>

#include <set>

namespace stasis {
namespace {

Topology Must(absl::string_view text) {
  absl::StatusOr<Topology> topology = Topology::Parse(text);
  EXPECT_TRUE(topology.ok()) << topology.status();
  return topology.ok() ? *topology : Topology();
}

TEST(TopologyTest, AllFourPartsAreRead) {
  const Topology topology = Must("2n4l3c2t");
  EXPECT_EQ(topology.nodes(), 2u);
  EXPECT_EQ(topology.llcs_per_node(), 2u);
  EXPECT_EQ(topology.cpus(), 24u);
  EXPECT_EQ(topology.ToString(), "2n4l3c2t");
}

TEST(TopologyTest, PartsLeftOutDefaultToOneAndLlcsToOnePerNode) {
  EXPECT_EQ(Must("4c"), Must("1n1l4c1t"));
  EXPECT_EQ(Must("2n2c"), Must("2n2l2c1t"));
}

TEST(TopologyTest, NeighbouringVcpusAreSiblingsThenCoresThenLlcsThenNodes) {
  const Topology topology = Must("2n4l2c2t");
  const CpuPlace place = topology.Place(13);  // 0b1101
  EXPECT_EQ(place.thread, 1u);
  EXPECT_EQ(place.core, 0u);
  EXPECT_EQ(place.llc, 3u);
  EXPECT_EQ(place.node, 1u);
  EXPECT_EQ(place.apic_id, 13u);
}

TEST(TopologyTest, CountsThatAreNoPowersOfTwoLeaveGapsInApicIds) {
  const Topology topology = Must("1n1l3c2t");
  std::set<uint32_t> ids;
  for (uint32_t cpu = 0; cpu < topology.cpus(); ++cpu) ids.insert(topology.Place(cpu).apic_id);
  EXPECT_EQ(ids, (std::set<uint32_t>{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(Must("1n2l3c1t").Place(3).apic_id, 4u);
}

TEST(TopologyTest, BadTextSaysWhichPartIsWrong) {
  const auto message = [](absl::string_view text) {
    return std::string(Topology::Parse(text).status().message());
  };
  EXPECT_NE(message("0n").find("0n: each count is at least 1"), std::string::npos);
  EXPECT_NE(message("2n3l").find("3 LLCs cannot be shared out evenly to 2 nodes"),
            std::string::npos);
  EXPECT_NE(message("10000c").find("more than 252 CPUs"), std::string::npos);
  EXPECT_NE(message("4294967295l4294967295c").find("more than 252 CPUs"), std::string::npos);
  EXPECT_NE(message("99999999999c").find("too large"), std::string::npos);
  EXPECT_NE(message("4x").find("'x' is none of"), std::string::npos);
  EXPECT_NE(message("2c1n").find("out of order"), std::string::npos);
  EXPECT_NE(message("4").find("expected n, l, c or t"), std::string::npos);
  EXPECT_NE(message("").find("empty"), std::string::npos);
}

TEST(TopologyTest, DistancesDefaultToOneHopAndCanBeSet) {
  Topology topology = Must("3n");
  EXPECT_EQ(topology.distance(0, 0), 10);
  EXPECT_EQ(topology.distance(0, 2), 20);
  ASSERT_TRUE(topology.SetDistances({{10, 21, 31}, {21, 10, 21}, {31, 21, 10}}).ok());
  EXPECT_EQ(topology.distance(2, 0), 31);
}

TEST(TopologyTest, ImpossibleDistancesAreRefusedAndKeepTheOldOnes) {
  Topology topology = Must("2n");
  EXPECT_FALSE(topology.SetDistances({{10, 20}}).ok());
  EXPECT_FALSE(topology.SetDistances({{10, 20}, {21, 10}}).ok());
  EXPECT_FALSE(topology.SetDistances({{10, 9}, {9, 10}}).ok());
  EXPECT_FALSE(topology.SetDistances({{11, 20}, {20, 10}}).ok());
  EXPECT_EQ(topology.distance(0, 1), 20);
}

TEST(MemorySizeTest, UnitIsRequired) {
  EXPECT_EQ(*ParseMemorySize("512M"), uint64_t{512} << 20);
  EXPECT_EQ(*ParseMemorySize("2g"), uint64_t{2} << 30);
  EXPECT_NE(ParseMemorySize("12").status().message().find("write 12M or 12G"),
            absl::string_view::npos);
  EXPECT_FALSE(ParseMemorySize("").ok());
  EXPECT_FALSE(ParseMemorySize("0M").ok());
  EXPECT_FALSE(ParseMemorySize("99999999G").ok());
  EXPECT_FALSE(ParseMemorySize("-1G").ok());
}

}  // namespace
}  // namespace stasis
