#include "guest/agent/observer.h"

#include "gtest/gtest.h"

namespace stasis::agent {
namespace {

Runnable On(uint32_t cpu, const char* allowed) { return {cpu, *CpuSet::Parse(allowed)}; }

TEST(ImbalanceTest, TasksThatCouldMoveToAFreerCpuCount) {
  const Imbalance found = ImbalanceOf({On(0, "0-1"), On(0, "0-1"), On(0, "0"), On(1, "0-1")});

  EXPECT_EQ(found.most, 2u);
  EXPECT_EQ(found.busy_cpu, 0u);
  EXPECT_EQ(found.free_cpu, 1u);
}

TEST(ImbalanceTest, PinnedTasksAreNoImbalance) {
  EXPECT_EQ(ImbalanceOf({On(0, "0"), On(0, "0"), On(0, "0")}).most, 0u);
}

TEST(ImbalanceTest, NoTasksNoImbalance) { EXPECT_EQ(ImbalanceOf({}).most, 0u); }

TEST(ParseStatTest, StateAndCpuAreFoundBehindAnyName) {
  std::string text = "42 (a ) b (c) R";
  for (int field = 4; field <= 52; ++field) text += " " + std::to_string(field == 39 ? 7 : field);

  const std::optional<TaskPlace> place = ParseStat(text);

  ASSERT_TRUE(place.has_value());
  EXPECT_EQ(place->state, 'R');
  EXPECT_EQ(place->cpu, 7u);
}

TEST(ParseStatTest, AnythingElseIsRefused) {
  EXPECT_FALSE(ParseStat("").has_value());
  EXPECT_FALSE(ParseStat("42 (name)").has_value());
  EXPECT_FALSE(ParseStat("42 (name) R 1 2 3").has_value());
}

}  // namespace
}  // namespace stasis::agent
