#include "tools/report/html_report.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tools/report/charts.h"
#include "tools/report/html.h"

namespace stasis {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

json Result() {
  return json::parse(R"({
    "format": "stasis.result/1", "verdict": "fail", "layer": "scheduler",
    "message": "max_gap: 962ms, limit 500ms", "scenario": {"name": "starved", "summary": "A hog",
      "cgroups": [{"name": "a", "weight": 300}, {"name": "b", "weight": 100}]},
    "machine": {"topology_text": "2 CPUs", "memory_bytes": 536870912}, "host": {"lane": "nested",
      "vcpus": [{"ran_ns": 1000000, "run_delay_ns": 5, "involuntary_switches": 3}]},
    "expectations": [{"name": "max_gap", "held": false, "text": "962ms"},
                     {"name": "evidence", "held": true, "text": "3 workers"}],
    "start_ns": 1000, "end_ns": 3000000000, "steps": [{"what": "set_cpus a to 1",
      "planned_ns": 1000000000, "began_ns": 1100000000, "ended_ns": 1200000000, "error": ""}],
    "marks_ns": [1000, 1000000000, 2000000000], "groups": [{"cgroup": "a", "work": 0,
      "iterations": [0, 100, 150]}],
    "workers": [{"index": 0, "name": "a/0", "cgroup": "a", "work": 0, "kind": "cpu_spin",
                 "iterations": 10, "run_ns": 2000000000, "max_gap_ns": 962000000, "gap_at_ns": 1000,
                 "migrations": 2, "cpus_used": "0-1", "wakeup": "200:5 240:1", "response": ""},
                {"index": 1, "name": "b/0", "cgroup": "b", "work": 0, "kind": "cpu_spin",
                 "iterations": 10, "run_ns": 1000000000, "max_gap_ns": 5, "gap_at_ns": 1000,
                 "migrations": 0, "cpus_used": "1", "wakeup": "", "response": ""}],
    "samples": {"begin_ns": 1000, "ends_ns": [1000000000, 2000000000],
      "workers": [{"index": 0, "run_ns": [500000000, 0], "gap_ns": [0, 900000000], "cpu": [1, 1]}]},
    "alarms": [{"kind": "rcu stall", "line": "rcu: INFO: stall"}], "console_tail": ["last line"]
  })");
}

TEST(HtmlReportTest, VerdictAndCauseComeFirstAndEveryPartIsThere) {
  const auto page = HtmlReport(Result());

  ASSERT_TRUE(page.ok()) << page.status();
  EXPECT_THAT(*page, HasSubstr("<title>starved: FAIL</title>"));
  EXPECT_LT(page->find("max_gap: 962ms, limit 500ms"), page->find("What was expected"));
  for (const char* part :
       {"not held", "set_cpus a to 1", "Who ran where", "Workers on each CPU", "Throughput",
        "Longest gaps", "its weight asks for 75.0 %", "Wake-up latency", "The host",
        "rcu: INFO: stall", "last line", "prefers-color-scheme: dark"}) {
    EXPECT_THAT(*page, HasSubstr(part));
  }
  EXPECT_THAT(*page, Not(HasSubstr("Response time"))) << "nothing was asked for";
}

TEST(HtmlReportTest, MonitorsFindingsSayWhenTheTaskLastRan) {
  json result = Result();
  result["monitor"] = json::parse(R"({
    "samples": 30, "seen_hz": 9.9, "mean_sample_cpu_ns": 60000,
    "dropped": {"torn_walks": 1, "torn_cpus": 2, "raced_tasks": 3},
    "findings": [{"kind": "task-stall", "severity": "failure", "text": "worker <b> has waited 1.6 s",
                  "began_ns": 1200001000, "lasted_ns": 1600000000, "excused_ns": 1000000}],
    "series": {"begin_ns": 1000, "ends_ns": [1000000000, 2000000000], "cpus": [
      {"cpu": 0, "most": [3, 2], "mean": [2.5, 2], "busy": [1, 0]}]}})");

  const std::string page = *HtmlReport(result);

  EXPECT_THAT(page, HasSubstr("worker &lt;b&gt; has waited 1.6 s"));
  EXPECT_THAT(page, HasSubstr("<td class=\"n\">1.20 s</td>"));
  EXPECT_THAT(page, HasSubstr("30 samples, 9.9 a second, 60 us of the host"));
  EXPECT_THAT(page, HasSubstr("<h2>Runqueue depth</h2>"));
  EXPECT_THAT(page, HasSubstr("CPU 0: 2 tasks, at most 2, busy 0 %"));
  EXPECT_THAT(page, HasSubstr("class=\"mark\"")) << "when it last ran";
}

TEST(HtmlReportTest, MonitorThatSawNothingSaysWhy) {
  json result = Result();
  result["monitor"] = {{"unavailable", "no BTF"}, {"samples", 0}};

  EXPECT_THAT(*HtmlReport(result), HasSubstr("Nothing: no BTF"));
}

TEST(HtmlReportTest, PageNeedsNoNetworkAndNoScript) {
  const std::string page = *HtmlReport(Result());

  for (const char* outside : {"http:", "https:", "<script", "<link", "<img", "url("}) {
    EXPECT_THAT(page, Not(HasSubstr(outside)));
  }
}

TEST(HtmlReportTest, TextOfTheGuestIsNeverMarkup) {
  json result = Result();
  const std::string evil = "</pre><script>alert('x')</script>\"\x1b[2J";
  result["message"] = evil;
  result["console_tail"] = {evil};
  result["workers"][0]["name"] = evil;
  result["steps"][0]["what"] = evil;
  result["scenario"]["name"] = evil;

  const std::string page = *HtmlReport(result);

  EXPECT_THAT(page, Not(HasSubstr("<script")));
  EXPECT_THAT(page, Not(HasSubstr("\x1b")));
  EXPECT_THAT(page, HasSubstr("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&quot;?[2J"));
}

TEST(HtmlReportTest, ResultThatCameToNothingIsAPageAllTheSame) {
  const auto page = HtmlReport(
      json{{"format", "stasis.result/1"}, {"verdict", "error"}, {"message", "no kernel"}});

  ASSERT_TRUE(page.ok());
  EXPECT_THAT(*page, AllOf(HasSubstr("no kernel"), Not(HasSubstr("<svg"))));
}

TEST(HtmlReportTest, MembersOfTheWrongTypeAreLeftOut) {
  json result = Result();
  for (const char* key : {"samples", "workers", "steps", "groups", "marks_ns", "host", "machine"}) {
    json odd = result;
    odd[key] = 7;
    EXPECT_TRUE(HtmlReport(odd).ok()) << key;
    odd[key] = json::array({json::array({1}), "x", nullptr});
    EXPECT_TRUE(HtmlReport(odd).ok()) << key;
  }
}

TEST(HtmlReportTest, SeveralRunsAreATableAndASectionEach) {
  json one = Result();
  one["run"] = {{"scenario", "starved"}, {"repeat", 2}};

  const auto page = HtmlReport(json{{"format", "stasis.results/1"},
                                    {"summary", "FAIL: 2 of 2 runs failed"},
                                    {"runs", {one, one}}});

  ASSERT_TRUE(page.ok());
  EXPECT_THAT(*page, AllOf(HasSubstr("FAIL: 2 of 2 runs failed"), HasSubstr("starved #2")));
}

TEST(HtmlReportTest, OtherDocumentsAreRefused) {
  EXPECT_TRUE(absl::IsInvalidArgument(HtmlReport(json::array()).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(HtmlReport(json{{"format", "x"}}).status()));
}

TEST(ChartsTest, LanesShowWaitsOnlyWhereSomebodyWaited) {
  json result = Result();
  EXPECT_THAT(html::WorkerLanes(result), HasSubstr("var(--bad)"));

  result["samples"]["workers"][0]["gap_ns"] = {0, 0};

  EXPECT_THAT(html::WorkerLanes(result), Not(HasSubstr("var(--bad)")));
}

}  // namespace
}  // namespace stasis
