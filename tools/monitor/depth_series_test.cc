#include "tools/monitor/depth_series.h"

#include "gtest/gtest.h"

namespace stasis {
namespace {

Sample At(int tenths, size_t waiting, bool idle) {
  Sample sample;
  sample.time = absl::UnixEpoch() + absl::Milliseconds(100) * tenths;
  sample.interval = absl::Milliseconds(100);
  sample.cpus.push_back({.cpu = 0, .online = true, .idle = idle, .waiting = waiting});
  return sample;
}

nlohmann::json Json(const DepthSeries& series) {
  return series.ToJson([](absl::Time at) { return absl::ToUnixNanos(at); });
}

TEST(DepthSeriesTest, NothingWithoutASample) { EXPECT_TRUE(Json(DepthSeries()).is_null()); }

TEST(DepthSeriesTest, DepthCountsTheRunningAndTheWaiting) {
  DepthSeries series;

  series.Add(At(1, 3, false));
  series.Add(At(2, 0, true));

  const nlohmann::json json = Json(series);
  EXPECT_EQ(json["begin_ns"], 0);
  EXPECT_EQ(json["ends_ns"], nlohmann::json({100'000'000, 200'000'000}));
  EXPECT_EQ(json["cpus"][0]["most"], nlohmann::json({4, 0}));
  EXPECT_EQ(json["cpus"][0]["busy"], nlohmann::json({1.0, 0.0}));
}

TEST(DepthSeriesTest, LongRunsAreMergedAndKeepTheDeepest) {
  DepthSeries series;
  for (int i = 1; i <= 2000; ++i) series.Add(At(i, i == 777 ? 50 : 1, i % 2 == 0));

  const nlohmann::json json = Json(series);
  EXPECT_LE(json["ends_ns"].size(), DepthSeries::kMostIntervals);
  EXPECT_EQ(json["ends_ns"].back(), 200'000'000'000);
  uint64_t most = 0;
  for (const auto& value : json["cpus"][0]["most"]) most = std::max(most, value.get<uint64_t>());
  EXPECT_EQ(most, 51u);
  EXPECT_NEAR(json["cpus"][0]["busy"][3].get<double>(), 0.5, 0.01);
}

TEST(DepthSeriesTest, TornSamplesAreNoDepth) {
  DepthSeries series;
  Sample torn = At(1, 9, false);
  torn.tasks_torn = true;

  series.Add(torn);

  EXPECT_TRUE(Json(series).is_null());
}

}  // namespace
}  // namespace stasis
