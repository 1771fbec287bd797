#include "tools/bench/report.h"

#include "absl/strings/match.h"
#include "gtest/gtest.h"

namespace stasis::bench {
namespace {

Boot BootOf(double seconds, uint64_t mebibytes) {
  return {.to_hello = absl::Seconds(seconds),
          .memory = {.rss = mebibytes << 20, .pss = mebibytes << 20}};
}

Startup StartupOf(double milliseconds) {
  return {.cpu = absl::Milliseconds(milliseconds),
          .elapsed = absl::Milliseconds(2 * milliseconds),
          .stages = {{"exec", absl::Milliseconds(milliseconds), absl::Milliseconds(1)}}};
}

BenchReport Example() {
  BenchReport report;
  report.lane = "kvm";
  report.results.push_back({.cpus = 1,
                            .stasis = {{BootOf(7, 5), StartupOf(12)}},
                            .qemu_same_file = {BootOf(20, 40)},
                            .qemu_elf = {BootOf(10, 30)}});
  return report;
}

TEST(TextReportTest, RatioIsJudgedAgainstQemusFasterWayAndTheOtherIsShown) {
  const std::string text = TextReport(Example());

  EXPECT_TRUE(absl::StrContains(text, "stasis is at 0.35 of it")) << text;
  EXPECT_TRUE(absl::StrContains(
      text, "met           start to hello, 1 vCPU, of QEMU's faster way: 0.70, goal at most 0.8"))
      << text;
}

TEST(TextReportTest, AMissedGoalIsSaid) {
  BenchReport report = Example();
  report.results[0].stasis[0].boot = BootOf(9, 9);

  const std::string text = TextReport(report);

  EXPECT_TRUE(absl::StrContains(text, "MISSED        start to hello")) << text;
  EXPECT_TRUE(absl::StrContains(text, "MISSED        memory beyond the guest's")) << text;
  EXPECT_TRUE(absl::StrContains(text, "met           CPU time to the first KVM_RUN: 12.00 ms"))
      << text;
}

TEST(TextReportTest, CpuTimeOfAnEmulatedHostIsNotJudged) {
  BenchReport report = Example();
  report.lane = "nested";
  const std::string without = TextReport(report);
  report.host_startups = {StartupOf(15)};
  const std::string with = TextReport(report);

  EXPECT_FALSE(absl::StrContains(without, "KVM_RUN:")) << without;
  EXPECT_TRUE(absl::StrContains(with, "KVM_RUN (host's KVM): 15.00 ms")) << with;
}

TEST(JsonReportTest, HoldsMediansRunsAndGoals) {
  const nlohmann::json report = JsonReport(Example());

  EXPECT_EQ(report["format"], "stasis.bench.boot/1");
  const nlohmann::json& one = report["results"][0];
  EXPECT_EQ(one["stasis"]["to_hello_ms"]["median"], 7000.0);
  EXPECT_EQ(one["qemu_elf"]["runs"].size(), 1u);
  EXPECT_EQ(one["stasis"]["startups"][0]["cpu_ns"], 12000000);
  EXPECT_EQ(report["goals"][0]["met"], true);
}

TEST(StartupsTest, JsonAndBackIsTheSame) {
  const std::vector<Startup> startups = {StartupOf(3), StartupOf(4)};

  const std::vector<Startup> back = StartupsFromJson(StartupsToJson(startups));

  ASSERT_EQ(back.size(), 2u);
  EXPECT_EQ(back[1].cpu, absl::Milliseconds(4));
  EXPECT_EQ(back[1].elapsed, absl::Milliseconds(8));
  ASSERT_EQ(back[1].stages.size(), 1u);
  EXPECT_EQ(back[1].stages[0].name, "exec");
  EXPECT_EQ(back[1].stages[0].elapsed, absl::Milliseconds(1));
}

}  // namespace
}  // namespace stasis::bench
