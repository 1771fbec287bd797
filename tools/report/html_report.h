// HtmlReport: the result of a run as one page that needs nothing else.
#ifndef STASIS_TOOLS_REPORT_HTML_REPORT_H_
#define STASIS_TOOLS_REPORT_HTML_REPORT_H_

#include <string>

#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"

namespace stasis {

// `result`: a document of `stasis run --json` (docs/result-json.md), of one run or of several, one
// section each. Whatever stands in it is shown as text, never as markup. What a run did not come to
// is left out. Error: InvalidArgument for a document of another format.
absl::StatusOr<std::string> HtmlReport(const nlohmann::json& result);

}  // namespace stasis

#endif  // STASIS_TOOLS_REPORT_HTML_REPORT_H_
