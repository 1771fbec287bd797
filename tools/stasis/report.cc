// stasis report: a result as one page.
#include <stdio.h>

#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "nlohmann/json.hpp"
#include "tools/harness/files.h"
#include "tools/report/html_report.h"
#include "tools/stasis/command.h"

namespace stasis {
namespace {

constexpr uint64_t kMostBytes = uint64_t{1} << 30;

struct ReportOptions {
  std::string result;
  std::string output;
};

int Report(const ReportOptions& options) {
  absl::StatusOr<std::string> text = ReadWholeFile(options.result, kMostBytes);
  if (!text.ok()) return Complain(HostError(text.status()));
  const nlohmann::json result = nlohmann::json::parse(*text, nullptr, /*allow_exceptions=*/false);
  if (result.is_discarded()) {
    return Complain(FindingFromStatus(
        Layer::kNone,
        absl::InvalidArgumentError(absl::StrCat(
            options.result, ": no JSON; expected what 'stasis run --json FILE' wrote"))));
  }
  absl::StatusOr<std::string> page = HtmlReport(result);
  if (!page.ok()) {
    return Complain(FindingFromStatus(
        Layer::kNone, absl::InvalidArgumentError(
                          absl::StrCat(options.result, ": ", page.status().message()))));
  }
  const std::string output =
      options.output.empty()
          ? absl::StrCat(absl::StripSuffix(options.result, ".json"), ".html")
          : options.output;
  if (absl::Status written = WriteFileAtomically(output, *page); !written.ok()) {
    return Complain(HostError(written));
  }
  printf("%s\n", output.c_str());
  return 0;
}

}  // namespace

void AddReportCommand(CLI::App* app, Invocation* invocation) {
  auto options = std::make_shared<ReportOptions>();
  CLI::App* command = app->add_subcommand("report", "Makes a page of a result, for a browser");
  command->add_option("result", options->result, "What 'stasis run --json FILE' wrote")->required();
  command->add_option("-o,--output", options->output, "The page (default: beside it, as .html)");
  command->footer(
      "Example:\n"
      "  stasis run starved --json starved.json; stasis report starved.json -o starved.html");
  command->callback(
      [options, invocation] { invocation->action = [options] { return Report(*options); }; });
}

}  // namespace stasis
