#include "tools/bench/child.h"

#include "absl/strings/match.h"
#include "gtest/gtest.h"

namespace stasis::bench {
namespace {

absl::Time Soon() { return MonotonicNow() + absl::Seconds(20); }

TEST(ChildTest, OutputAndExtraDescriptorReachUs) {
  auto output = StreamPair();
  auto extra = StreamPair();
  ASSERT_TRUE(output.ok() && extra.ok());
  auto child = Child::Start({.argv = {"/bin/sh", "-c", "echo out; echo extra >&3"},
                             .output = output->second.get(),
                             .extra = extra->second.get()});
  ASSERT_TRUE(child.ok()) << child.status();

  EXPECT_EQ(*(*child)->Read(output->first.get(), Soon()), "out\n");
  EXPECT_EQ(*(*child)->Read(extra->first.get(), Soon()), "extra\n");
  EXPECT_TRUE((*child)->Join(Soon()).ok());
}

TEST(ChildTest, EnvironmentIsAddedToOurs) {
  auto output = StreamPair();
  ASSERT_TRUE(output.ok());
  auto child = Child::Start({.argv = {"/bin/sh", "-c", "echo $BENCH_TEST_WORD"},
                             .environment = {"BENCH_TEST_WORD=a=b"},
                             .output = output->second.get()});
  ASSERT_TRUE(child.ok()) << child.status();

  EXPECT_EQ(*(*child)->Read(output->first.get(), Soon()), "a=b\n");
}

TEST(ChildTest, AFailureCarriesExitCodeAndLastWords) {
  auto child = Child::Start({.argv = {"/bin/sh", "-c", "echo no such thing >&2; exit 3"}});
  ASSERT_TRUE(child.ok()) << child.status();

  const absl::Status ended = (*child)->Join(Soon());

  EXPECT_EQ(ended.code(), absl::StatusCode::kAborted);
  EXPECT_EQ(ended.message(), "sh ended with exit code 3; it said: no such thing");
}

TEST(ChildTest, AnEndWithoutAWordEndsReading) {
  auto output = StreamPair();
  ASSERT_TRUE(output.ok());
  auto child = Child::Start({.argv = {"/bin/true"}, .output = output->second.get()});
  ASSERT_TRUE(child.ok()) << child.status();

  EXPECT_EQ((*child)->Read(output->first.get(), Soon()).status().code(),
            absl::StatusCode::kAborted);
}

TEST(ChildTest, ADeadlineThatHasPassedIsSaid) {
  auto silent = StreamPair();
  ASSERT_TRUE(silent.ok());
  auto waiting = Child::Start({.argv = {"/bin/cat"}, .input = silent->second.get()});
  ASSERT_TRUE(waiting.ok()) << waiting.status();

  EXPECT_EQ((*waiting)->Join(MonotonicNow()).code(), absl::StatusCode::kDeadlineExceeded);
}

TEST(ChildTest, AProgramThatIsNotThereIsNamed) {
  const auto child = Child::Start({.argv = {"/nonexistent/monitor"}});

  EXPECT_TRUE(absl::StrContains(child.status().message(), "/nonexistent/monitor"))
      << child.status();
}

}  // namespace
}  // namespace stasis::bench
