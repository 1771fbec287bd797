#include "tools/harness/sample_log.h"

#include "gtest/gtest.h"

namespace stasis {
namespace {

wire::WorkerSamples At(uint64_t time_ns, uint64_t run_ns, uint64_t gap_ns = 0, uint32_t cpu = 0) {
  return {.time_ns = time_ns,
          .samples = {{.index = 3, .run_ns = run_ns, .current_gap_ns = gap_ns, .cpu = cpu}}};
}

TEST(SampleLogTest, IntervalsHoldWhatWasRunWaitedAndSeenInThem) {
  SampleLog log;
  log.Add(At(100, 50));
  log.Add(At(200, 120, 0, 1));
  log.Add(At(300, 120, 90, 1));

  const nlohmann::json json = log.ToJson();

  EXPECT_EQ(json["begin_ns"], 100);
  EXPECT_EQ(json["ends_ns"], (std::vector<int>{200, 300}));
  const nlohmann::json& worker = json["workers"][0];
  EXPECT_EQ(worker["index"], 3);
  EXPECT_EQ(worker["run_ns"], (std::vector<int>{70, 0}));
  EXPECT_EQ(worker["gap_ns"], (std::vector<int>{0, 90}));
  EXPECT_EQ(worker["cpu"], (std::vector<int>{1, 1}));
}

TEST(SampleLogTest, WorkerThatComesLaterOrLeavesIsAbsentBefore) {
  SampleLog log;
  log.Add({.time_ns = 100, .samples = {}});
  log.Add({.time_ns = 200, .samples = {}});
  log.Add(At(300, 10));
  log.Add({.time_ns = 400, .samples = {}});

  EXPECT_EQ(log.ToJson()["workers"][0]["cpu"], (std::vector<int>{-1, 0, -1}));
}

TEST(SampleLogTest, TooManyIntervalsBecomeHalfAsManyAndNothingIsLost) {
  SampleLog log;
  constexpr uint64_t kSamples = 3 * SampleLog::kMostIntervals;
  for (uint64_t i = 0; i <= kSamples; ++i) log.Add(At(1000 + 10 * i, 5 * i));

  const nlohmann::json json = log.ToJson();

  EXPECT_LE(json["ends_ns"].size(), SampleLog::kMostIntervals);
  EXPECT_GE(json["ends_ns"].size(), SampleLog::kMostIntervals / 2);
  EXPECT_EQ(json["ends_ns"].back(), 1000 + 10 * kSamples);
  uint64_t sum = 0;
  for (const auto& ran : json["workers"][0]["run_ns"]) sum += ran.get<uint64_t>();
  EXPECT_EQ(sum, 5 * kSamples);
}

TEST(SampleLogTest, ClockThatGoesBackwardsAndFloodsOfWorkersAreBounded) {
  SampleLog log;
  log.Add(At(100, 1));
  log.Add(At(50, 2));
  EXPECT_TRUE(log.ToJson().is_null());

  wire::WorkerSamples many{.time_ns = 200, .samples = {}};
  for (uint32_t i = 0; i < 10000; ++i) many.samples.push_back({.index = i});
  log.Add(many);

  EXPECT_EQ(log.ToJson()["workers"].size(), SampleLog::kMostWorkers);
}

}  // namespace
}  // namespace stasis
