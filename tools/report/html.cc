#include "tools/report/html.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace stasis::html {

std::string Escape(absl::string_view text) {
  std::string safe;
  for (const char c : text) {
    switch (c) {
      case '&':
        safe += "&amp;";
        break;
      case '<':
        safe += "&lt;";
        break;
      case '>':
        safe += "&gt;";
        break;
      case '"':
        safe += "&quot;";
        break;
      case '\'':
        safe += "&#39;";
        break;
      default:
        safe += static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t' ? '?' : c;
    }
  }
  return safe;
}

std::string Duration(double ns) {
  if (!(ns >= 0)) return "-";
  if (ns >= 1e9) return absl::StrFormat("%.2f s", ns / 1e9);
  if (ns >= 1e6) return absl::StrFormat("%.1f ms", ns / 1e6);
  if (ns >= 1e3) return absl::StrFormat("%.0f us", ns / 1e3);
  return absl::StrFormat("%.0f ns", ns);
}

const nlohmann::json& At(const nlohmann::json& object, const char* key) {
  static const nlohmann::json& null = *new nlohmann::json;
  if (!object.is_object()) return null;
  const auto found = object.find(key);
  return found == object.end() ? null : *found;
}

const nlohmann::json& List(const nlohmann::json& object, const char* key) {
  static const nlohmann::json& empty = *new nlohmann::json(nlohmann::json::array());
  const nlohmann::json& value = At(object, key);
  return value.is_array() ? value : empty;
}

std::string Text(const nlohmann::json& value) {
  if (value.is_null()) return "";
  if (value.is_string()) return Escape(value.get_ref<const std::string&>());
  return Escape(value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

double Number(const nlohmann::json& value) { return value.is_number() ? value.get<double>() : 0; }

std::string Colour(uint64_t index, double lightness) {
  // From yellow over green and blue to violet, neighbours far apart: red is for what is bad.
  const double hue = 40 + std::fmod(170 + 100.5 * static_cast<double>(index % 4096), 260);
  return absl::StrFormat("hsl(%.0f 65%% %.0f%%)", hue, lightness);
}

}  // namespace stasis::html
