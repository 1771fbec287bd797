// Html: text made safe for a page, and values out of a JSON document that may lack them.
#ifndef STASIS_TOOLS_REPORT_HTML_H_
#define STASIS_TOOLS_REPORT_HTML_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

namespace stasis::html {

// For element content and quoted attributes; control characters become '?'.
std::string Escape(absl::string_view text);

// "12.3 ms"; "-" for a negative number.
std::string Duration(double ns);

// Null where there is no such member, or no object.
const nlohmann::json& At(const nlohmann::json& object, const char* key);
// The list that a member is; an empty one for anything else.
const nlohmann::json& List(const nlohmann::json& object, const char* key);
std::string Text(const nlohmann::json& value);  // "" for null, numbers as they are
double Number(const nlohmann::json& value);     // 0 for what is no number

// A colour for the CPU or group `index`, as CSS.
std::string Colour(uint64_t index, double lightness = 50);

}  // namespace stasis::html

#endif  // STASIS_TOOLS_REPORT_HTML_H_
