// stasis compare: two sets of runs, metric by metric.
#include <stdio.h>

#include <memory>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "tools/harness/compare/comparison.h"
#include "tools/harness/files.h"
#include "tools/stasis/command.h"

namespace stasis {
namespace {

constexpr uint64_t kLargestFile = uint64_t{1} << 30;

struct Options {
  std::string a;
  std::string b;
  std::string threshold = "5%";
  double confidence = 0.95;
  std::string json;
};

int Usage(const absl::Status& status) {
  return Complain(Finding{Verdict::kUsage, Layer::kNone, std::string(status.message())});
}

// "5%" or "0.05".
absl::StatusOr<double> ParseShare(absl::string_view text) {
  const bool percent = absl::ConsumeSuffix(&text, "%");
  double value = 0;
  if (!absl::SimpleAtod(text, &value) || !(value >= 0) || value > (percent ? 1e6 : 1e4)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--threshold '", text, "': expected a share such as 5% or 0.05"));
  }
  return percent ? value / 100 : value;
}

absl::StatusOr<RunsFile> Load(const std::string& path) {
  absl::StatusOr<std::string> text = ReadWholeFile(path, kLargestFile);
  if (!text.ok()) return text.status();
  return ParseRuns(path, *text);
}

int CompareFiles(const Options& options) {
  absl::StatusOr<double> threshold = ParseShare(options.threshold);
  if (!threshold.ok()) return Usage(threshold.status());
  absl::StatusOr<RunsFile> a = Load(options.a);
  if (!a.ok()) return Usage(a.status());
  absl::StatusOr<RunsFile> b = Load(options.b);
  if (!b.ok()) return Usage(b.status());
  absl::StatusOr<Comparison> comparison =
      Compare(*a, *b, {.confidence = options.confidence, .threshold = *threshold});
  if (!comparison.ok()) return Usage(comparison.status());
  printf("%s", ComparisonText(*comparison).c_str());
  fflush(stdout);
  if (!options.json.empty()) {
    const std::string text = ComparisonJson(*comparison)
                                 .dump(2, ' ', false, nlohmann::json::error_handler_t::replace);
    absl::Status written = WriteFileAtomically(options.json, absl::StrCat(text, "\n"));
    if (!written.ok()) {
      return Complain(Finding{Verdict::kError, Layer::kHost, std::string(written.message()),
                              "give another --json file"});
    }
  }
  return ExitCode(comparison->regressions == 0 ? Verdict::kPass : Verdict::kFail);
}

}  // namespace

void AddCompareCommand(CLI::App* app, Invocation* invocation) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app->add_subcommand(
      "compare", "Says what became worse from one set of runs to another, and how certain that is");
  command->add_option("a", options->a, "What 'stasis run --repeat N --json FILE' wrote before")
      ->required();
  command->add_option("b", options->b, "The same of now")->required();
  command
      ->add_option("--confidence", options->confidence,
                   "Of the intervals; 1 less this is the chance of a false alarm over all metrics")
      ->check(CLI::Range(0.5, 0.9999))
      ->capture_default_str();
  command
      ->add_option("--threshold", options->threshold,
                   "Smaller changes are of no interest, however certain")
      ->capture_default_str();
  command->add_option("--json", options->json, "Writes the comparison to this file as JSON");
  command->footer(
      "Per metric: the ratio of the geometric means over the repeats with its interval (Welch's t on\n"
      "the logarithms), marked when it is certain (Benjamini-Hochberg over all metrics) and larger\n"
      "than the threshold.\n"
      "Exit codes: 0 nothing is worse, 1 a regression, 2 bad input.\n"
      "Examples:\n"
      "  stasis run steady schbench --repeat 10 --kernel before --json before.json\n"
      "  stasis run steady schbench --repeat 10 --kernel after --json after.json\n"
      "  stasis compare before.json after.json");
  command->callback([options, invocation] {
    invocation->action = [options] { return CompareFiles(*options); };
  });
}

}  // namespace stasis
