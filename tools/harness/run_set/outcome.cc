#include "tools/harness/run_set/outcome.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "tools/harness/compare/metrics.h"

namespace stasis {
namespace {

using nlohmann::json;

constexpr char kFormat[] = "stasis.results/1";
constexpr char kRunFormat[] = "stasis.result/1";
constexpr size_t kWholeReports = 3;
constexpr size_t kCauseLength = 160;

std::string TextOr(const json& object, const char* key) {
  const auto at = object.find(key);
  return at != object.end() && at->is_string() ? at->get<std::string>() : "";
}

RunState StateOf(const Finding& finding) {
  if (finding.interrupted) return RunState::kInterrupted;
  switch (finding.verdict) {
    case Verdict::kPass:
      return RunState::kPass;
    case Verdict::kFail:
      return RunState::kFail;
    case Verdict::kUsage:
      return RunState::kUsage;
    case Verdict::kError:
      return RunState::kError;
    case Verdict::kInconclusive:
      return RunState::kInconclusive;
  }
  return RunState::kError;
}

Verdict VerdictByName(const std::string& name) {
  for (Verdict verdict : {Verdict::kPass, Verdict::kFail, Verdict::kUsage, Verdict::kInconclusive}) {
    if (VerdictName(verdict) == name) return verdict;
  }
  return Verdict::kError;
}

Finding FindingOf(const json& document) {
  Finding finding{VerdictByName(TextOr(document, "verdict")),
                  LayerByName(TextOr(document, "layer")), OneLine(TextOr(document, "message")),
                  OneLine(TextOr(document, "to_do"))};
  const auto code = document.find("exit_code");
  finding.interrupted = code != document.end() && *code == kExitInterrupted;
  return finding;
}

// The last thing that it said, without its progress ("stasis: ...") and the verdict in front.
std::string LastWords(const std::string& error) {
  std::string last;
  for (absl::string_view line : absl::StrSplit(error, '\n', absl::SkipEmpty())) {
    if (!absl::StartsWith(line, "stasis: ")) last = std::string(line);
  }
  absl::string_view words = last;
  if (absl::ConsumePrefix(&words, "ERROR: ")) absl::ConsumePrefix(&words, "host: ");
  return OneLine(words);
}

// A child that left no document.
Finding FindingWithoutDocument(const ChildResult& child) {
  if (!child.started) {
    return {Verdict::kError, Layer::kHost, "not started", "", true};
  }
  const std::string words = LastWords(child.error);
  if (child.exit_code == kExitInterrupted) {
    return {Verdict::kError, Layer::kHost, words.empty() ? "interrupted" : words, "", true};
  }
  // Exit codes that a run has by itself are told with its own words.
  if (child.exit_code == ExitCode(Verdict::kError) && !words.empty()) {
    return {Verdict::kError, Layer::kHost, words};
  }
  const std::string how = child.exit_code > 128
                              ? absl::StrCat("was ended by signal ", child.exit_code - 128)
                              : absl::StrCat("ended with exit code ", child.exit_code);
  return {Verdict::kError, Layer::kHost,
          absl::StrCat("the process of this run ", how, " and left no result",
                       words.empty() ? "" : "; it said: ", words)};
}

json DocumentOf(const Finding& finding) {
  return {{"format", kRunFormat},
          {"verdict", std::string(VerdictName(finding.verdict))},
          {"exit_code", finding.exit_code()},
          {"layer", std::string(LayerName(finding.layer))},
          {"message", finding.what},
          {"to_do", finding.to_do}};
}

void AddRun(RunOutcome* outcome) {
  outcome->document["run"] = {{"scenario", outcome->run.name},
                              {"repeat", outcome->run.repeat},
                              {"state", RunStateName(outcome->state)},
                              {"wall_ns", absl::ToInt64Nanoseconds(outcome->wall)}};
}

size_t Count(const std::vector<RunOutcome>& outcomes, RunState state) {
  return static_cast<size_t>(std::count_if(
      outcomes.begin(), outcomes.end(), [&](const RunOutcome& o) { return o.state == state; }));
}

// What a verdict is called of several runs: "2 failed".
constexpr std::pair<RunState, const char*> kSaid[] = {
    {RunState::kFail, "failed"},          {RunState::kUsage, "could not be used"},
    {RunState::kError, "had an error"},   {RunState::kInconclusive, "inconclusive"},
    {RunState::kInterrupted, "interrupted"}, {RunState::kPass, "passed"},
    {RunState::kSkipped, "skipped"},
};

std::string Cause(const RunOutcome& outcome) {
  if (outcome.state == RunState::kPass) return "";
  const Finding& finding = outcome.finding;
  const bool of_a_layer =
      finding.layer != Layer::kNone && outcome.state != RunState::kInterrupted;
  std::string cause = of_a_layer ? absl::StrCat(LayerName(finding.layer), ": ") : "";
  absl::StrAppend(&cause, finding.what);
  return OneLine(cause, kCauseLength);
}

std::string Or(bool there, const std::string& text) { return there ? text : "-"; }

std::vector<std::string> Row(const RunOutcome& outcome) {
  const KeyFigures figures = KeyFiguresOf(MetricsOf(outcome.document));
  const bool good = outcome.state == RunState::kPass || outcome.state == RunState::kSkipped;
  const std::string state = RunStateName(outcome.state);
  return {outcome.run.name,
          absl::StrCat(outcome.run.repeat),
          good ? state : absl::AsciiStrToUpper(state),
          Or(outcome.wall > absl::ZeroDuration(),
             absl::StrFormat("%.1f s", absl::ToDoubleSeconds(outcome.wall))),
          Or(figures.iterations_per_s >= 0,
             MetricText(MetricUnit::kPerSecond, figures.iterations_per_s)),
          Or(figures.max_gap_ns >= 0, MetricText(MetricUnit::kNanoseconds, figures.max_gap_ns)),
          Or(figures.spread >= 0, MetricText(MetricUnit::kShare, figures.spread)),
          Or(figures.wakeup_p99_ns >= 0,
             MetricText(MetricUnit::kNanoseconds, figures.wakeup_p99_ns)),
          Cause(outcome)};
}

}  // namespace

const char* RunStateName(RunState state) {
  switch (state) {
    case RunState::kPass:
      return "pass";
    case RunState::kInconclusive:
      return "inconclusive";
    case RunState::kError:
      return "error";
    case RunState::kUsage:
      return "usage";
    case RunState::kFail:
      return "fail";
    case RunState::kSkipped:
      return "skipped";
    case RunState::kInterrupted:
      return "interrupted";
  }
  return "";
}

RunOutcome OutcomeOf(const PlannedRun& run, const ChildResult& child, const std::string& written,
                     bool skip_unsupported) {
  RunOutcome outcome{.run = run, .text = child.output, .wall = child.wall};
  outcome.document = json::parse(written, nullptr, /*allow_exceptions=*/false);
  if (outcome.document.is_object() && TextOr(outcome.document, "format") == kRunFormat) {
    outcome.finding = FindingOf(outcome.document);
  } else {
    outcome.finding = FindingWithoutDocument(child);
    outcome.document = DocumentOf(outcome.finding);
  }
  // A result and an exit code that contradict it: it was written, and then the process broke.
  if (outcome.finding.exit_code() != child.exit_code && child.started && !written.empty()) {
    outcome.finding = {child.exit_code == ExitCode(Verdict::kFail) ? Verdict::kFail
                                                                   : Verdict::kError,
                       Layer::kHost,
                       absl::StrCat("the process of this run ended with exit code ",
                                    child.exit_code, " after its result was '",
                                    VerdictName(outcome.finding.verdict), "'")};
  }
  outcome.state = StateOf(outcome.finding);
  // Noise of the host is layer host; everything else that is inconclusive lacks something.
  if (skip_unsupported && outcome.state == RunState::kInconclusive &&
      outcome.finding.layer != Layer::kHost) {
    outcome.state = RunState::kSkipped;
  }
  AddRun(&outcome);
  return outcome;
}

RunOutcome SkippedOutcome(const PlannedRun& run, const Finding& why) {
  RunOutcome outcome{.run = run, .state = RunState::kSkipped, .finding = why};
  outcome.finding.verdict = Verdict::kInconclusive;
  outcome.document = DocumentOf(outcome.finding);
  AddRun(&outcome);
  return outcome;
}

int ExitCodeOf(const std::vector<RunOutcome>& outcomes) {
  if (Count(outcomes, RunState::kInterrupted) > 0) return kExitInterrupted;
  if (Count(outcomes, RunState::kFail) > 0) return ExitCode(Verdict::kFail);
  if (Count(outcomes, RunState::kUsage) > 0) return ExitCode(Verdict::kUsage);
  if (Count(outcomes, RunState::kError) > 0) return ExitCode(Verdict::kError);
  if (Count(outcomes, RunState::kInconclusive) > 0) return ExitCode(Verdict::kInconclusive);
  return ExitCode(Verdict::kPass);
}

std::string SummaryLine(const std::vector<RunOutcome>& outcomes) {
  std::vector<std::string> parts;
  const char* worst = nullptr;
  for (const auto& [state, said] : kSaid) {
    const size_t count = Count(outcomes, state);
    if (count == 0) continue;
    if (worst == nullptr) {
      worst = RunStateName(state);
      parts.push_back(absl::StrFormat("%d of %d runs %s", count, outcomes.size(), said));
    } else {
      parts.push_back(absl::StrCat(count, " ", said));
    }
  }
  return absl::StrCat(absl::AsciiStrToUpper(worst == nullptr ? "pass" : worst), ": ",
                      absl::StrJoin(parts, ", "));
}

std::string OutcomeTable(const std::vector<RunOutcome>& outcomes) {
  std::vector<std::vector<std::string>> rows = {{"scenario", "run", "verdict", "time", "iterations",
                                                 "longest gap", "spread", "wake-up p99", "cause"}};
  for (const RunOutcome& outcome : outcomes) rows.push_back(Row(outcome));
  std::vector<size_t> widths(rows[0].size(), 0);
  for (const auto& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string table;
  for (const auto& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      const bool left = i == 0 || i == 2 || i + 1 == row.size();
      absl::StrAppend(&line, i == 0 ? "" : "  ",
                      left ? absl::StrFormat("%-*s", widths[i], row[i])
                           : absl::StrFormat("%*s", widths[i], row[i]));
    }
    line.erase(line.find_last_not_of(' ') + 1);
    absl::StrAppend(&table, line, "\n");
  }
  return table;
}

std::string RunSetReport(const std::vector<RunOutcome>& outcomes) {
  std::string report =
      absl::StrCat(SummaryLine(outcomes), "\n\n", OutcomeTable(outcomes));
  size_t shown = 0;
  size_t left_out = 0;
  for (const RunOutcome& outcome : outcomes) {
    const bool of_interest = outcome.state != RunState::kPass &&
                             outcome.state != RunState::kSkipped &&
                             outcome.state != RunState::kInterrupted;
    if (!of_interest || outcome.text.empty()) continue;
    if (++shown > kWholeReports) {
      ++left_out;
      continue;
    }
    absl::StrAppend(&report, "\n== ", outcome.run.Label(), "\n", outcome.text);
  }
  if (left_out > 0) {
    absl::StrAppend(&report, "\n", left_out, " more ", left_out == 1 ? "report" : "reports",
                    " not shown; --json has all\n");
  }
  return report;
}

json RunSetJson(const std::vector<RunOutcome>& outcomes, const JobChoice& jobs) {
  json runs = json::array();
  for (const RunOutcome& outcome : outcomes) runs.push_back(outcome.document);
  json counts;
  for (const auto& [state, said] : kSaid) {
    if (const size_t count = Count(outcomes, state); count > 0) counts[RunStateName(state)] = count;
  }
  return {{"format", kFormat},
          {"exit_code", ExitCodeOf(outcomes)},
          {"summary", SummaryLine(outcomes)},
          {"counts", std::move(counts)},
          {"jobs", {{"jobs", jobs.jobs}, {"why", jobs.why}}},
          {"runs", std::move(runs)}};
}

std::string JsonText(const json& document) {
  return absl::StrCat(document.dump(2, ' ', false, json::error_handler_t::replace), "\n");
}

}  // namespace stasis
