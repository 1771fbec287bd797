// Reads what `stasis run --json` wrote.
#include "absl/strings/str_cat.h"
#include "tools/harness/compare/comparison.h"

namespace stasis {
namespace {

using nlohmann::json;

std::string FormatOf(const json& document) {
  if (!document.is_object()) return "";
  const auto format = document.find("format");
  return format != document.end() && format->is_string() ? format->get<std::string>() : "";
}

absl::Status Refused(const std::string& path, absl::string_view why) {
  return absl::InvalidArgumentError(
      absl::StrCat(path, ": ", why, "; expected a file of 'stasis run --json FILE'"));
}

}  // namespace

absl::StatusOr<RunsFile> ParseRuns(const std::string& path, const std::string& text) {
  json document = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (document.is_discarded()) return Refused(path, "not JSON");
  const std::string format = FormatOf(document);
  RunsFile file{.path = path};
  if (format == "stasis.result/1") {
    file.runs.push_back(std::move(document));
    return file;
  }
  if (format != "stasis.results/1") {
    return Refused(path, format.empty() ? "no result of stasis (it has no format)"
                                        : absl::StrCat("of format '", format.substr(0, 60), "'"));
  }
  const auto runs = document.find("runs");
  if (runs == document.end() || !runs->is_array()) return Refused(path, "has no runs");
  for (json& run : *runs) {
    if (FormatOf(run) != "stasis.result/1") {
      return Refused(path, absl::StrCat("run ", file.runs.size() + 1, " is no result"));
    }
    file.runs.push_back(std::move(run));
  }
  if (file.runs.empty()) return Refused(path, "has no runs");
  return file;
}

}  // namespace stasis
