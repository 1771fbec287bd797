#include "guest/scenario/cpu_set.h"

#include "gtest/gtest.h"

namespace stasis {
namespace {

CpuGroups FiveCpusTwoCaches() {
  CpuGroups groups;
  groups.online = CpuSet::Of({0, 1, 2, 3, 6});
  groups.llcs = {CpuSet::Of({0, 1}), CpuSet::Of({2, 3, 6})};
  groups.nodes = {groups.online, CpuSet()};
  return groups;
}

std::string Resolved(const char* expression) {
  auto cpus = ResolveCpus(expression, FiveCpusTwoCaches());
  return cpus.ok() ? cpus->ToString() : std::string(cpus.status().message());
}

TEST(CpuSetTest, KernelListsComeBackAsTheyWere) {
  for (const char* list : {"", "0", "0-3", "0-3,6", "1,3,5", "1023"}) {
    auto set = CpuSet::Parse(list);
    ASSERT_TRUE(set.ok()) << list;
    EXPECT_EQ(set->ToString(), list);
  }
}

TEST(CpuSetTest, NewlineOfSysfsIsIgnored) { EXPECT_EQ(CpuSet::Parse("0-1\n")->ToString(), "0-1"); }

TEST(CpuSetTest, MalformedListsAreRefused) {
  for (const char* list : {"a", "1-", "-1", "3-1", "0,,1", "0-1024", "99999999999", "+1", "1 2"}) {
    EXPECT_FALSE(CpuSet::Parse(list).ok()) << list;
  }
}

TEST(ResolveCpusTest, HalvesSplitTheOnlineCpusInOrder) {
  EXPECT_EQ(Resolved("half:0"), "0-2");
  EXPECT_EQ(Resolved("half:1"), "3,6");
}

TEST(ResolveCpusTest, CachesNodesAndListsCanBeJoined) {
  EXPECT_EQ(Resolved("llc:1"), "2-3,6");
  EXPECT_EQ(Resolved("node:0"), "0-3,6");
  EXPECT_EQ(Resolved("llc:0, 6"), "0-1,6");
  EXPECT_EQ(Resolved(""), "0-3,6");
}

TEST(ResolveCpusTest, WhatTheMachineLacksIsSaid) {
  EXPECT_EQ(Resolved("llc:2"), "'llc:2': this machine has 2 llcs, counted from 0");
  EXPECT_EQ(Resolved("4-6"), "CPUs 4-5 are not online; this machine has 0-3,6");
  EXPECT_FALSE(ResolveCpus("node:1", FiveCpusTwoCaches()).ok());
}

TEST(ResolveCpusTest, SecondHalfOfOneCpuIsRefused) {
  CpuGroups one;
  one.online = CpuSet::Of({0});

  EXPECT_EQ(ResolveCpus("half:1", one).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST(CheckCpuExpressionTest, BadSyntaxIsRefusedWithoutAMachine) {
  for (const char* text : {"half:2", "half:", "socket:0", "llc:x", "0-3,,6", "llc"}) {
    EXPECT_FALSE(CheckCpuExpression(text).ok()) << text;
  }
  EXPECT_TRUE(CheckCpuExpression("llc:99").ok());
}

}  // namespace
}  // namespace stasis
