#include "tools/harness/near_match.h"

#include "gtest/gtest.h"

namespace stasis {
namespace {

const std::vector<std::string>& Names() {
  static const auto& names =
      *new std::vector<std::string>{"steady", "starved", "cgroup-churn", "cgroup-nest", "smt"};
  return names;
}

TEST(NearMatchTest, SwappedLettersFindTheName) {
  EXPECT_EQ(NearMatches("staedy", Names()), std::vector<std::string>{"steady"});
}

TEST(NearMatchTest, PartOfANameFindsAllThatHaveIt) {
  EXPECT_EQ(NearMatches("cgroup", Names()),
            (std::vector<std::string>{"cgroup-nest", "cgroup-churn"}));
}

TEST(NearMatchTest, SomethingElseFindsNothing) {
  EXPECT_TRUE(NearMatches("completely-different", Names()).empty());
  EXPECT_TRUE(NearMatches("", Names()).empty());
  EXPECT_TRUE(NearMatches("zq", Names()).empty());
  EXPECT_TRUE(NearMatches(std::string(10000, 'x'), Names()).empty());
}

}  // namespace
}  // namespace stasis
