#include "tools/report/html_report.h"

#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tools/report/charts.h"
#include "tools/report/html.h"

namespace stasis {
namespace {

using html::At;
using html::Duration;
using html::List;
using html::Number;
using html::Text;
using nlohmann::json;

constexpr char kOne[] = "stasis.result/1";
constexpr char kSeveral[] = "stasis.results/1";

constexpr char kHead[] = R"(<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<style>
:root { --text: #1c2330; --soft: #5c6675; --back: #ffffff; --card: #f4f6f9; --line: #d6dbe3;
        --good: #1a7f4b; --bad: #c62f2f; --unsure: #9a6700; --accent: #2f6fd0; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e4e8ee; --soft: #9aa5b4; --back: #14181f; --card: #1d232d; --line: #343c49;
          --good: #4cc38a; --bad: #ff6b6b; --unsure: #e3b341; --accent: #6ea8fe; }
}
body { margin: 0 auto; max-width: 1100px; padding: 1.2rem; background: var(--back); color: var(--text);
       font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.35rem; margin: 0 0 .3rem; } h2 { font-size: 1.05rem; margin: 1.6rem 0 .4rem; }
.verdict { padding: .8rem 1rem; border-radius: 8px; background: var(--card); border-left: 6px solid; }
.pass { border-color: var(--good); } .fail { border-color: var(--bad); }
.other { border-color: var(--unsure); }
.verdict b { text-transform: uppercase; } .note, .soft { color: var(--soft); }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 600; color: var(--soft); }
td, th { padding: .18rem .6rem .18rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td.n, th.n { text-align: right; } td.held { color: var(--good); } td.not { color: var(--bad); }
pre { background: var(--card); padding: .6rem .8rem; overflow-x: auto; border-radius: 6px; }
svg { display: block; } svg text { fill: var(--text); font: 11px system-ui, sans-serif; }
svg text.axis { fill: var(--soft); } .grid { stroke: var(--line); stroke-width: .7; }
.step { stroke: var(--text); stroke-width: 1.2; stroke-dasharray: 4 3; }
.mark { stroke: var(--text); stroke-width: 2; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; margin: .3rem 0; color: var(--soft); }
.legend i { display: inline-block; width: .8em; height: .8em; margin-right: .4em; border-radius: 2px; }
section { margin-bottom: 3rem; }
</style>
)";

std::string Chart(const char* title, const char* note, const std::string& chart) {
  if (chart.empty()) return "";
  return absl::StrCat("<h2>", title, "</h2>", *note == '\0' ? "" : "<p class=\"note\">", note,
                      *note == '\0' ? "" : "</p>", chart, "\n");
}

std::string Header(const json& result) {
  const std::string verdict = Text(At(result, "verdict"));
  const std::string kind = verdict == "pass" || verdict == "fail" ? verdict : "other";
  const json& scenario = At(result, "scenario");
  std::string text = absl::StrCat("<h1>", Text(At(scenario, "name")), "</h1><p class=\"soft\">",
                                  Text(At(scenario, "summary")), "</p>");
  absl::StrAppend(&text, "<div class=\"verdict ", kind, "\"><b>", verdict, "</b>");
  const std::string layer = Text(At(result, "layer"));
  if (!layer.empty()) absl::StrAppend(&text, ": ", layer);
  const std::string message = Text(At(result, "message"));
  if (!message.empty()) absl::StrAppend(&text, ": ", message);
  const std::string to_do = Text(At(result, "to_do"));
  if (!to_do.empty()) absl::StrAppend(&text, "<br><span class=\"soft\">", to_do, "</span>");
  text += "</div>\n<table>";
  auto row = [&text](const char* name, const std::string& value) {
    if (!value.empty()) absl::StrAppend(&text, "<tr><th>", name, "</th><td>", value, "</td></tr>");
  };
  const json& machine = At(result, "machine");
  row("kernel", Text(At(At(result, "guest"), "kernel_release")));
  row("machine", absl::StrCat(Text(At(machine, "topology_text")), ", ",
                              static_cast<int64_t>(Number(At(machine, "memory_bytes")) / (1 << 20)),
                              " MiB, ", Text(At(At(result, "host"), "lane")), " lane"));
  const json& scheduler = At(result, "scheduler");
  if (scheduler.is_object()) {
    row("scheduler", absl::StrCat(Text(At(scheduler, "command")), " (", Text(At(scheduler, "ops")),
                                  "), attached in ", Text(At(scheduler, "attached_samples")),
                                  " of ", Text(At(scheduler, "samples")), " samples"));
    const json& end = At(scheduler, "end");
    if (end.is_object()) {
      row("its end", absl::StrCat(Text(At(end, "kind")), ": ", Text(At(end, "reason")), " ",
                                  Text(At(end, "message"))));
    }
  }
  for (const json& dump : List(result, "dumps")) {
    row("dump", absl::StrCat(Text(At(dump, "path")), Text(At(dump, "error")), " (",
                             Text(At(dump, "trigger")), ")"));
  }
  for (const json& warning : List(result, "warnings")) row("warning", Text(warning));
  row("limits", Text(At(result, "default_limits")));
  return text + "</table>\n";
}

std::string Expectations(const json& result) {
  const json& expectations = List(result, "expectations");
  if (expectations.empty()) return "";
  std::string text = "<h2>What was expected</h2><table>";
  for (const json& one : expectations) {
    const bool held = At(one, "held") == json(true);
    absl::StrAppend(&text, "<tr><td class=\"", held ? "held\">ok" : "not\">not held", "</td><td>",
                    Text(At(one, "name")), "</td><td>", Text(At(one, "text")), "</td></tr>");
  }
  return text + "</table>\n";
}

std::string Steps(const json& result) {
  const json& steps = List(result, "steps");
  if (steps.empty()) return "";
  std::string text = "<h2>Steps</h2><table><tr><th>planned</th><th>began</th><th>took</th><th>what"
                     "</th></tr>";
  for (const json& one : steps) {
    absl::StrAppend(&text, "<tr><td>", Duration(Number(At(one, "planned_ns"))), "</td><td>",
                    Duration(Number(At(one, "began_ns"))), "</td><td>",
                    Duration(Number(At(one, "ended_ns")) - Number(At(one, "began_ns"))),
                    "</td><td>", Text(At(one, "what")), " ", Text(At(one, "error")), "</td></tr>");
  }
  return text + "</table>\n";
}

std::string Workers(const json& result) {
  const json& workers = List(result, "workers");
  if (workers.empty()) return "";
  std::string text =
      "<h2>Workers</h2><table><tr><th>worker</th><th>kind</th><th class=\"n\">iterations</th>"
      "<th class=\"n\">ran</th><th class=\"n\">run delay</th><th class=\"n\">longest gap</th>"
      "<th class=\"n\">migrations</th><th>CPUs used</th></tr>";
  for (const json& worker : workers) {
    const json& delay = At(worker, "run_delay_ns");
    absl::StrAppend(&text, "<tr><td>", Text(At(worker, "name")), "</td><td>",
                    Text(At(worker, "kind")), " ", Text(At(worker, "role")),
                    "</td><td class=\"n\">", Text(At(worker, "iterations")),
                    "</td><td class=\"n\">", Duration(Number(At(worker, "run_ns"))),
                    "</td><td class=\"n\">", delay.is_null() ? "-" : Duration(Number(delay)),
                    "</td><td class=\"n\">", Duration(Number(At(worker, "max_gap_ns"))),
                    "</td><td class=\"n\">", Text(At(worker, "migrations")), "</td><td>",
                    Text(At(worker, "cpus_used")), "</td></tr>");
  }
  return text + "</table>\n";
}

// Times since the start of the measurement, where that is known.
std::string Monitor(const json& result) {
  const json& monitor = At(result, "monitor");
  if (!monitor.is_object()) return "";
  const std::string why = Text(At(monitor, "unavailable"));
  std::string text = "<h2>What the host saw of the scheduler</h2>";
  if (!why.empty()) return absl::StrCat(text, "<p class=\"note\">Nothing: ", why, "</p>\n");
  const json& findings = List(monitor, "findings");
  if (findings.empty()) {
    text += "<p class=\"note\">Nothing that should not be.</p>";
  } else {
    text += "<table><tr><th></th><th>what</th><th class=\"n\">last ran, or began</th>"
            "<th class=\"n\">lasted</th><th class=\"n\">the host's share</th></tr>";
  }
  for (const json& finding : findings) {
    const std::string severity = Text(At(finding, "severity"));
    absl::StrAppend(&text, "<tr><td class=\"", severity == "failure" ? "not" : "", "\">", severity,
                    "</td><td>", Text(At(finding, "text")), "</td><td class=\"n\">",
                    Duration(Number(At(finding, "began_ns")) - Number(At(result, "start_ns"))),
                    "</td><td class=\"n\">", Duration(Number(At(finding, "lasted_ns"))),
                    "</td><td class=\"n\">", Duration(Number(At(finding, "excused_ns"))),
                    "</td></tr>");
  }
  if (!findings.empty()) text += "</table>";
  const json& dropped = At(monitor, "dropped");
  absl::StrAppendFormat(
      &text,
      "<p class=\"note\">%s samples, %.1f a second, %s of the host's CPU time each. Dropped, for they "
      "changed while they were read: %s walks over all tasks, %s CPUs, %s tasks.</p>\n",
      Text(At(monitor, "samples")), Number(At(monitor, "seen_hz")),
      Duration(Number(At(monitor, "mean_sample_cpu_ns"))), Text(At(dropped, "torn_walks")),
      Text(At(dropped, "torn_cpus")), Text(At(dropped, "raced_tasks")));
  return text;
}

std::string HostNoise(const json& result) {
  const json& vcpus = List(At(result, "host"), "vcpus");
  if (vcpus.empty()) return "";
  std::string text =
      "<h2>The host</h2><p class=\"note\">What the threads of the virtual CPUs waited for a CPU of "
      "the host is not the scheduler's fault.</p><table><tr><th>vCPU</th><th class=\"n\">ran</th>"
      "<th class=\"n\">waited</th><th class=\"n\">preempted</th></tr>";
  int index = 0;
  for (const json& vcpu : vcpus) {
    absl::StrAppend(&text, "<tr><td>", index++, "</td><td class=\"n\">",
                    Duration(Number(At(vcpu, "ran_ns"))), "</td><td class=\"n\">",
                    Duration(Number(At(vcpu, "run_delay_ns"))), "</td><td class=\"n\">",
                    Text(At(vcpu, "involuntary_switches")), "</td></tr>");
  }
  return text + "</table>\n";
}

std::string Console(const json& result) {
  std::string text;
  const json& alarms = List(result, "alarms");
  if (!alarms.empty()) {
    text += "<h2>The guest's kernel complained</h2><pre>";
    for (const json& alarm : alarms) absl::StrAppend(&text, Text(At(alarm, "line")), "\n");
    text += "</pre>\n";
  }
  const std::string dump = Text(At(At(At(result, "scheduler"), "end"), "debug_dump"));
  if (!dump.empty()) {
    absl::StrAppend(&text, "<h2>sched_ext's own dump</h2><pre>", dump, "</pre>\n");
  }
  for (const char* stream : {"stdout", "stderr"}) {
    const std::string said = Text(At(At(result, "scheduler"), stream));
    if (said.empty()) continue;
    absl::StrAppend(&text, "<h2>", stream, " of the scheduler</h2><pre>", said, "</pre>\n");
  }
  const json& tail = List(result, "console_tail");
  if (!tail.empty() && Text(At(result, "verdict")) != "pass") {
    text += "<h2>End of the console</h2><pre>";
    for (const json& line : tail) absl::StrAppend(&text, Text(line), "\n");
    text += "</pre>\n";
  }
  return text;
}

std::string Section(const json& result) {
  return absl::StrCat(
      "<section>\n", Header(result), Expectations(result), Steps(result),
      Chart("Who ran where", "Colour: CPU; strength: share of the time; red below: it waited.",
            html::WorkerLanes(result)),
      Chart("Workers on each CPU", "The stronger the colour, the more wanted it.", html::CpuDepth(result)),
      Chart("Runqueue depth",
            "Tasks that ran or waited, as the host saw it: the stronger the colour, the more; red: they wait and "
            "the CPU idles; lines: when a task that was found waiting last ran.",
            html::RunqueueDepth(result)),
      Chart("Throughput", "Each group against its own best.", html::Throughput(result)),
      Chart("Longest gaps", "Runnable and not running.", html::Gaps(result)),
      Chart("Shares of the cgroups", "", html::CgroupShares(result)),
      Chart("Wake-up latency", "Share of wake-ups that took longer.",
            html::Latencies(result, "wakeup")),
      Chart("Response time", "Share of requests that took longer.",
            html::Latencies(result, "response")),
      Monitor(result), Workers(result), HostNoise(result), Console(result), "</section>\n");
}

// A line for each of several runs.
std::string Table(const json& runs) {
  std::string text = "<table><tr><th>run</th><th>verdict</th><th>cause</th></tr>";
  for (const json& one : runs) {
    const json& run = At(one, "run");
    absl::StrAppend(&text, "<tr><td>", Text(At(run, "scenario")), " #", Text(At(run, "repeat")),
                    "</td><td class=\"", Text(At(one, "verdict")) == "pass" ? "held" : "not", "\">",
                    Text(At(one, "verdict")), "</td><td>", Text(At(one, "message")), "</td></tr>");
  }
  return text + "</table>\n";
}

}  // namespace

absl::StatusOr<std::string> HtmlReport(const json& result) {
  const json& format = At(result, "format");
  std::string title, body;
  if (format == json(kOne)) {
    title = absl::StrCat(Text(At(At(result, "scenario"), "name")), ": ",
                         absl::AsciiStrToUpper(Text(At(result, "verdict"))));
    body = Section(result);
  } else if (format == json(kSeveral)) {
    title = Text(At(result, "summary"));
    body = absl::StrCat("<section><h1>", title, "</h1>", Table(List(result, "runs")), "</section>\n");
    for (const json& run : List(result, "runs")) body += Section(run);
  } else {
    return absl::InvalidArgumentError(absl::StrCat(
        "no result of 'stasis run --json': its format is '",
        format.is_string() ? format.get<std::string>() : "missing", "', expected ", kOne, " or ",
        kSeveral));
  }
  return absl::StrCat(kHead, "<title>", title, "</title>\n</head>\n<body>\n", body,
                      "</body>\n</html>\n");
}

}  // namespace stasis
